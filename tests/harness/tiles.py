"""A file of PMTiles with one picture of the whole world, in one colour."""

import json
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
    """Version 3: header, directory of one entry (tile 0, once), facts, and the tile; nothing is compressed."""
    tile, facts = png(colour), json.dumps({"attribution": attribution}).encode()
    directory = b"".join(map(varint, (1, 0, 1, len(tile), 1)))
    at = [127, 127 + len(directory), 127 + len(directory) + len(facts)]
    places = (at[0], len(directory), at[1], len(facts), at[2], 0, at[2], len(tile), 1, 1, 1)
    box = struct.pack("<iiii", -1_800_000_000, -850_000_000, 1_800_000_000, 850_000_000)
    kinds = bytes((1, 1, 1, 2, 0, 0))  # clustered; no compression of directories and tiles; PNG; zooms 0 to 0
    head = b"PMTiles\x03" + struct.pack("<11Q", *places) + kinds + box + bytes(9)
    assert len(head) == 127
    path.write_bytes(head + directory + facts + tile)
    return path
