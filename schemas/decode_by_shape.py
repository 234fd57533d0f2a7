"""Many messages at once, by their shape: the fast way from Kafka's bytes to columns.

A producer's messages differ in their values; keys, order and punctuation are the same in thousands of them. So one
message of each shape is decoded strictly, and cut into its values and the literal text between them. In all other
messages with as many quotation marks the values must lie between the same literals, compared eight bytes at a time;
each value is then read for all messages at once, as a column. No Python object is made for a message, but the bytes of
its id.

This way never refuses a message. It takes those that are plainly good: the same literals as a valid message, no escape,
no character but printable ASCII, numbers as digits with a point, times as most programs write them, words that the
region's spec has. All others are left to the loop of `schemas.decode`, which gives the same columns and the reasons.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, get_args

import numpy as np
import numpy.typing as npt
import xxhash

from schemas.event import ORIGINS, Status
from schemas.limits import MAX_EVENT_BYTES
from schemas.spec import Spec

LEAST_MESSAGES = 1_000  # of a slice: below it the loop is as fast
_LEAST_OF_A_SHAPE = 500
_MOST_SHAPES = 8  # of a slice
_SPREAD = 0.618  # of the slice between two that are tried as models: bad ones that came together do not use them all up
_STATUSES: tuple[str, ...] = get_args(Status)
_VALUE = re.compile(rb'"([a-z_]+)"\s*:\s*(?:"([^"]*)"|(-?\d[\d.]*)|null)\s*[,}]')
_LONGEST = {"incident_id": 128, "type_code": 64}
_LEAST_PRECISE_M = 1_000_000

# Numbers and words are read eight bytes at a time, the first byte lowest.
_LOW = np.array([(1 << 8 * count) - 1 for count in range(9)], "<u8")  # the first 0 to 8 bytes of eight
_ZEROS = np.uint64(0x3030303030303030)  # "00000000"
_HIGH_HALVES = np.uint64(0xF0F0F0F0F0F0F0F0)
_SIXES = np.uint64(0x0606060606060606)
# A byte of `eight - _ONES` borrows only where one of `eight` is zero.
_ONES, _HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_BLANKS, _BACKSLASHES, _DELETES = 0x20 * _ONES, ord("\\") * _ONES, 0x7F * _ONES
_MIX = np.uint64(0x9E3779B97F4A7C15)
_PADDING = MAX_EVENT_BYTES + 64  # before and after the messages, so that each position near one can be read
_POWERS = 10.0 ** np.arange(23)  # exact
_EXACT_DIGITS = 15  # a number of so many digits over such a power is rounded once, as a parser rounds it
_MONTH_STARTS = np.arange("1970-01", "2200-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
_LAST_YEAR = 2199
_MOST_OFFSET_H = 14

Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What events say, before they are judged: one array per field, each (n,)."""

    index: npt.NDArray[np.int64]  # of the message in its slice
    region: npt.NDArray[np.int64]  # position in the specs
    key: npt.NDArray[np.uint64]  # XXH3 of incident_id
    printable: Flags  # incident_id
    occurred_us: npt.NDArray[np.float64]  # epoch microseconds
    received_us: npt.NDArray[np.float64]  # the same, NaN where the event does not say it
    category: npt.NDArray[np.int16]  # position in the region's categories, their number for any other
    lat_deg: npt.NDArray[np.float64]
    lon_deg: npt.NDArray[np.float64]
    revision: npt.NDArray[np.int32]
    origin: npt.NDArray[np.int8]  # position in ORIGINS
    cancelled: Flags

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """All parts, sorted by index."""
        if len(parts) == 1:
            return parts[0]
        joined = cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})
        return joined.select(np.argsort(joined.index))

    def select(self, chosen: Any) -> Self:
        return type(self)(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


def read_by_shape(
    data: bytes, ends: Integers, missing: Flags, specs: Mapping[str, Spec], is_event: Callable[[bytes], bool]
) -> list[Readings]:
    """What the plainly good messages of a slice say; every other message is not in it.

    data: the messages one after another, message i between ends[i] and ends[i + 1]. ends: (n + 1,). missing: (n,)
    those without a value. is_event: whether a message is an event of the contract with no key twice.
    """
    text = _Text(data)
    starts, stops = ends[:-1] + _PADDING, ends[1:] + _PADDING
    quotes = np.flatnonzero(text.bytes == ord('"'))
    first_quote = np.searchsorted(quotes, starts)
    number_of_quotes = np.diff(first_quote, append=len(quotes))
    pending = ~missing & (stops - starts <= MAX_EVENT_BYTES)

    readings = []
    for attempt in range(1, _MOST_SHAPES + 1):
        often = np.bincount(number_of_quotes[pending], minlength=1)
        if often.max() < _LEAST_OF_A_SHAPE:
            break
        alike = np.flatnonzero(pending & (number_of_quotes == often.argmax()))
        chosen = alike[int(len(alike) * (attempt * _SPREAD % 1))]
        model = data[ends[chosen] : ends[chosen + 1]]
        shape = _shape_of(model) if is_event(model) else None
        if shape is None:
            pending[chosen] = False
            continue
        same, spans = _spans(text, *shape, starts[alike], stops[alike], quotes, first_quote[alike])
        pending[alike[same]] = False
        of_shape = {name: (begin[same], end[same]) for name, (begin, end) in spans.items()}
        reading, good = _read(text, of_shape, alike[same], specs)
        readings.append(reading if good.all() else reading.select(good))
    return readings


def _shape_of(model: bytes) -> tuple[list[str], list[bytes]] | None:
    """A valid event's fields in their order, and the literal text before, between and behind their values.

    None where a number is not written plainly. A null is literal text.
    """
    if b"".join(_VALUE.sub(b"", model).split()) != b"{":
        return None
    names, literals, position = [], [], 0
    for match in _VALUE.finditer(model):
        group = 2 if match[2] is not None else 3
        if match[group] is not None:
            names.append(match[1].decode())
            literals.append(model[position : match.start(group)])
            position = match.end(group)
    literals.append(model[position:])
    return names, literals


def _spans(
    text: "_Text",
    names: list[str],
    literals: list[bytes],
    starts: Integers,
    stops: Integers,
    quotes: Integers,
    first_quote: Integers,
) -> tuple[Flags, dict[str, tuple[Integers, Integers]]]:
    """(whether a message has the shape's literals, where each of its values begins and ends). All are (n,)."""
    same = text.has(starts, literals[0])
    passed = literals[0].count(b'"')  # quotation marks before the value
    begin = starts + len(literals[0])
    spans = {}
    for name, literal in zip(names, literals[1:], strict=True):
        if b'"' in literal:
            end = quotes[np.minimum(first_quote + passed, len(quotes) - 1)] - literal.index(b'"')
        else:
            end = stops - len(literal)
        same &= (end > begin) & text.has(end, literal)
        spans[name] = (begin, end)
        passed += literal.count(b'"')
        begin = end + len(literal)
    return same & (begin == stops), spans


def _read(
    text: "_Text", spans: Mapping[str, tuple[Integers, Integers]], index: Integers, specs: Mapping[str, Spec]
) -> tuple[Readings, Flags]:
    """(what the messages of one shape say, which of them are plainly good). index: (n,) of each in the slice."""
    good = np.ones(len(index), bool)

    def word(name: str, known: Sequence[str], default: int = -1) -> Integers:
        nonlocal good
        if name not in spans:
            return np.full(len(index), default)
        position = text.word(*spans[name], known)
        good &= position >= 0
        return position

    def number(name: str, low: float, high: float, *, whole: bool = False) -> npt.NDArray[np.float64]:
        nonlocal good
        if name not in spans:
            return np.zeros(len(index))
        value, plain = text.number(*spans[name], whole=whole)
        plain &= (low <= value) & (value <= high)
        good &= plain
        return np.where(plain, value, 0.0)

    def time(name: str) -> npt.NDArray[np.float64]:
        nonlocal good
        if name not in spans:
            return np.full(len(index), np.nan)
        value, plain = text.time(*spans[name])
        good &= plain
        return value

    for name, longest in _LONGEST.items():
        if name in spans:
            good &= text.is_plain(*spans[name], longest)
    number("priority", 0, 9, whole=True)
    number("accuracy_m", 0, _LEAST_PRECISE_M)
    region = word("region", list(specs))
    names = sorted({name for spec in specs.values() for name in spec.categories})
    positions = [
        [spec.categories.index(name) if name in spec.categories else -1 for name in names] for spec in specs.values()
    ]
    category = np.array(positions, np.int16)[region, word("category", names)]
    good &= category >= 0
    readings = Readings(
        index=index,
        region=region,
        key=text.hashes(*spans["incident_id"]),
        printable=np.ones(len(index), bool),
        occurred_us=time("occurred_at"),
        received_us=time("received_at"),
        category=category,
        lat_deg=number("lat", -90, 90),
        lon_deg=number("lon", -180, 180),
        revision=number("revision", 0, 2**31 - 1, whole=True).astype(np.int32),
        origin=word("origin", ORIGINS).astype(np.int8),
        cancelled=word("status", _STATUSES, _STATUSES.index("open")) == _STATUSES.index("cancelled"),
    )
    return readings, good


class _Text:
    """The bytes of a slice, with blanks before and behind, read at many positions at once. Positions are (n,)."""

    def __init__(self, data: bytes) -> None:
        self.raw = b"".join((b" " * _PADDING, data, b" " * _PADDING))
        self.bytes = np.frombuffer(self.raw, np.uint8)
        self._eights = np.ndarray(len(self.raw) - 7, "<u8", self.raw, strides=(1,))

    def eight(self, at: Integers) -> Words:
        """The eight bytes from each position."""
        return self._eights[at]

    def has(self, at: Integers, literal: bytes) -> Flags:
        """Whether a literal stands at each position."""
        same = np.ones(len(at), bool)
        for offset in range(0, len(literal), 8):
            part = literal[offset : offset + 8]
            same &= self.eight(at + offset) & _LOW[len(part)] == np.uint64(int.from_bytes(part, "little"))
        return same

    def hashes(self, begin: Integers, end: Integers) -> Words:
        texts = map(self.raw.__getitem__, map(slice, begin.tolist(), end.tolist()))
        return np.fromiter(map(xxhash.xxh3_64_intdigest, texts), np.uint64, len(begin))

    def is_plain(self, begin: Integers, end: Integers, longest: int) -> Flags:
        """Whether a text of at most `longest` bytes has printable ASCII alone, and no backslash."""
        length = end - begin
        plain = length <= longest
        for offset in range(0, min(int(length.max(initial=0)), longest), 8):
            part = _LOW[np.clip(length - offset, 0, 8)]
            eight = self.eight(begin + offset) & part | _ZEROS & ~part
            backslash, delete = eight ^ _BACKSLASHES, eight ^ _DELETES
            odd = eight | (eight - _BLANKS) | (backslash - _ONES) & ~backslash | (delete - _ONES) & ~delete
            plain &= odd & _HIGH_BITS == 0
        return plain

    def word(self, begin: Integers, end: Integers, known: Sequence[str]) -> Integers:
        """Which of the known words stands between two positions; -1 for another."""
        encoded = [name.encode() for name in known]
        eights = -(-max(map(len, encoded)) // 8)
        table = np.array([[*np.frombuffer(name.ljust(8 * eights, b"\0"), "<u8")] for name in encoded], "<u8")
        length = end - begin
        parts = [self.eight(begin + 8 * i) & _LOW[np.clip(length - 8 * i, 0, 8)] for i in range(eights)]
        mixed, mixed_table = parts[0], table[:, 0]
        for i in range(1, eights):
            mixed, mixed_table = mixed * _MIX ^ parts[i], mixed_table * _MIX ^ table[:, i]
        order = np.argsort(mixed_table)
        nearest = order[np.minimum(np.searchsorted(mixed_table[order], mixed), len(order) - 1)]
        same = length == np.array([*map(len, encoded)])[nearest]
        for i, part in enumerate(parts):
            same &= part == table[nearest, i]
        return np.where(same, nearest, -1)

    def _digits(self, end: Integers, count: Integers) -> tuple[Words, Flags]:
        """The number in the last `count` (0 to 8) bytes before each position, and whether all are digits."""
        unused = _LOW[8 - count]
        digits = (self.eight(end - 8) & ~unused) | (_ZEROS & unused)
        plain = (digits & _HIGH_HALVES == _ZEROS) & ((digits + _SIXES) & _HIGH_HALVES == _ZEROS)
        pairs = ((digits & np.uint64(0x0F0F0F0F0F0F0F0F)) * np.uint64(10 * 256 + 1)) >> np.uint64(8)
        fours = ((pairs & np.uint64(0x00FF00FF00FF00FF)) * np.uint64((100 << 16) + 1)) >> np.uint64(16)
        value = ((fours & np.uint64(0x0000FFFF0000FFFF)) * np.uint64((10_000 << 32) + 1)) >> np.uint64(32)
        return value, plain

    def number(self, begin: Integers, end: Integers, *, whole: bool) -> tuple[npt.NDArray[np.float64], Flags]:
        """(the number between two positions, whether it is written plainly); whole: without sign and point."""
        minus = self.bytes[begin] == ord("-")
        begin = begin + minus
        length = end - begin
        head = self.eight(begin)
        integer = length  # digits before the point
        for i in range(7, 0, -1):
            is_point = (head >> np.uint64(8 * i)) & np.uint64(255) == ord(".")
            integer = np.where(is_point & (i < length), i, integer)
        fraction = np.maximum(length - integer - 1, 0)
        plain = (integer >= 1) & (integer <= 8) & (fraction <= 16) & ((integer < length - 1) | (integer == length))
        plain &= (integer == 1) | (head & np.uint64(255) != ord("0"))
        if whole:
            plain &= ~minus & (integer == length)
        before, is_number = self._digits(begin + integer, np.clip(integer, 0, 8))
        plain &= is_number
        value = before.astype(np.float64)
        if not whole:
            low, low_is_number = self._digits(end, np.clip(fraction, 0, 8))
            high, high_is_number = self._digits(end - 8, np.clip(fraction - 8, 0, 8))
            plain &= low_is_number & high_is_number
            power = _POWERS[np.clip(fraction, 0, 16)]
            value = (value * power + (high * 1e8 + low)) / power
        for i in np.flatnonzero(plain & (integer + fraction > _EXACT_DIGITS)).tolist():
            value[i] = float(self.raw[begin[i] : end[i]])
        return np.where(minus, -value, value), plain

    def time(self, begin: Integers, end: Integers) -> tuple[npt.NDArray[np.float64], Flags]:
        """(epoch microseconds, whether it is written plainly): 2026-03-14T08:40:00[.1 to .123456](Z|+05:30)."""
        characters = np.stack([self.eight(begin + 8 * i) for i in range(4)], axis=1).view(np.uint8)  # (n, 32)
        is_utc = self.bytes[end - 1] == ord("Z")
        microseconds = np.full(len(begin), np.nan)
        length = np.clip(end - begin, 0, 33)
        for size, utc in ((size, utc) for size in np.flatnonzero(np.bincount(length)) for utc in (True, False)):
            zone = int(size) - (1 if utc else 6)  # where it begins
            if zone != 19 and not 21 <= zone <= 26:
                continue
            chosen = np.flatnonzero((length == size) & (is_utc == utc))
            if len(chosen):
                microseconds[chosen] = _microseconds(characters[chosen], zone, utc=utc)
        return microseconds, ~np.isnan(microseconds)


def _microseconds(characters: npt.NDArray[np.uint8], zone: int, *, utc: bool) -> npt.NDArray[np.float64]:
    """(n,) epoch microseconds of times whose zone begins at one position; NaN where a time is not written plainly."""
    marks = (
        {4: "-", 7: "-", 10: "T", 13: ":", 16: ":"}
        | ({19: "."} if zone > 19 else {})
        | ({} if utc else {zone + 3: ":"})
    )
    plain = np.ones(len(characters), bool)
    for position, mark in marks.items():
        plain &= characters[:, position] == ord(mark)

    def digits(position: int, count: int) -> Integers:
        nonlocal plain
        value = np.zeros(len(characters), np.int64)
        for column in range(position, position + count):
            digit = characters[:, column] - np.uint8(ord("0"))
            plain &= digit <= 9
            value = value * 10 + digit
        return value

    year, month, day = digits(0, 4), digits(5, 2), digits(8, 2)
    hour, minute, second = digits(11, 2), digits(14, 2), digits(17, 2)
    fraction_us = digits(20, zone - 20) * 10 ** (26 - zone) if zone > 19 else 0
    plain &= (year >= 1970) & (year <= _LAST_YEAR) & (month >= 1) & (month <= 12) & (day >= 1)
    plain &= (hour <= 23) & (minute <= 59) & (second <= 59)
    number = np.where(plain, (year - 1970) * 12 + month - 1, 0)
    days = _MONTH_STARTS[number] + day - 1
    plain &= days < _MONTH_STARTS[number + 1]
    offset_min: Integers | int = 0
    if not utc:
        offset_h, rest_min = digits(zone + 1, 2), digits(zone + 4, 2)
        is_east, is_west = characters[:, zone] == ord("+"), characters[:, zone] == ord("-")
        plain &= (is_east | is_west) & (offset_h <= _MOST_OFFSET_H) & (rest_min <= 59)
        offset_min = np.where(is_east, 1, -1) * (offset_h * 60 + rest_min)
    seconds = ((days * 24 + hour) * 60 + minute - offset_min) * 60 + second
    return np.where(plain, (seconds * 1_000_000 + fraction_us).astype(np.float64), np.nan)
