"""Files of PMTiles with one tile: a picture of the whole world in one colour, or lines and surfaces around a place."""

import json
import math
import struct
import zlib

SIDE = 256


def png(colour):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(colour) * SIDE for _ in range(SIDE))
    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def varint(number):
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def leave_tiles(path, colour=(40, 160, 60), attribution="<a href='x'>City &amp; County</a>"):
    """A picture of the whole world."""
    return leave_file(path, png(colour), {"attribution": attribution}, kind=2)


def leave_vector_tiles(path, lat, lon, zoom=8):
    """Around a place: the western half of the tile is water, and a road crosses it from corner to corner."""
    turns = math.asinh(math.tan(math.radians(lat))) / math.pi
    x, y = int((lon + 180) / 360 * 2**zoom), int((1 - turns) / 2 * 2**zoom)
    water = feature(3, [9, 0, 0, 26, 4096, 0, 0, 8192, 4095, 0, 15])  # to 0, 0; three lines; and back
    road = feature(2, [9, 0, 0, 10, 8192, 8192])
    tile = layer("water", water) + layer("roads", road)
    tile_id = (4**zoom - 1) // 3 + along_hilbert(x, y, zoom)
    return leave_file(path, tile, {"attribution": "County"}, kind=1, tile_id=tile_id, zoom=zoom)


def field(number, content):
    """Of a protocol buffer: a number or bytes."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(kind, commands):
    return field(3, kind) + field(4, b"".join(map(varint, commands)))


def layer(name, shape):
    return field(3, field(15, 2) + field(1, name.encode()) + field(2, shape) + field(5, 4096))


def along_hilbert(x, y, zoom):
    """The place of a tile along the curve that PMTiles counts by."""
    place = 0
    for bit in reversed(range(zoom)):
        side = 1 << bit
        right, down = int(bool(x & side)), int(bool(y & side))
        place += side * side * ((3 * right) ^ down)
        if not down:
            if right:
                x, y = side - 1 - x, side - 1 - y
            x, y = y, x
    return place


def leave_file(path, tile, facts, *, kind, tile_id=0, zoom=0):
    """Version 3: header, directory of one entry, facts, and the tile; nothing is compressed."""
    metadata = json.dumps(facts).encode()
    directory = b"".join(map(varint, (1, tile_id, 1, len(tile), 1)))
    at = [127, 127 + len(directory), 127 + len(directory) + len(metadata)]
    places = (at[0], len(directory), at[1], len(metadata), at[2], 0, at[2], len(tile), 1, 1, 1)
    box = struct.pack("<iiii", -1_800_000_000, -850_000_000, 1_800_000_000, 850_000_000)
    head = b"PMTiles\x03" + struct.pack("<11Q", *places) + bytes((1, 1, 1, kind, zoom, zoom)) + box + bytes(9)
    assert len(head) == 127
    path.write_bytes(head + directory + metadata + tile)
    return path
