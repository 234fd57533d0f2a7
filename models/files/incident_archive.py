"""The archive of final counts: a Delta table with a row for each region, day, cell, category and bin that has any.

A day without incidents has one row with a count of 0, so that it is not a missing day.
"""

import hashlib
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from models.counting.count_state import BIN_S
from models.files.incident_files import IncidentTable
from schemas.errors import DataError, needs_extra
from schemas.grid import Grid
from schemas.spec import DAY_S, HOUR_S, Merge, Spec

PREFIX, CUT_HOURS = "archive:", "cut_hours"
_SHOWN = 300  # characters of the library's error
EPOCH = date(1970, 1, 1).toordinal()
_COLUMNS = ("day", "cell", "category", "bin", "count", "meaning")
_ROW = np.dtype([("day", "<i4"), ("cell", "<i4"), ("category", "<i2"), ("bin", "<i2"), ("count", "<i4")])
_NOT_KNOWN = -1  # in place of a day's cut hours


class Meaning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a row's cell and count mean: two rows can be put together only if this is the same."""

    grid: Grid
    timezone: str
    counted_origins: tuple[str, ...]
    merge: Merge = "none"
    masked: str = ""

    @classmethod
    def of(cls, spec: Spec) -> "Meaning":
        return cls(**{name: getattr(spec, name) for name in cls.__struct_fields__})

    def text(self) -> str:
        """The meaning as the table has it: equal meanings have equal texts, and the cells can be drawn from it."""
        return msgspec.json.encode(self, order="deterministic").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedDays:
    """A region's days in the archive. An incident stands at the start of its bin, in the middle of its cell."""

    table: IncidentTable  # with the hours that are cut out
    meaning: Meaning
    version: int  # of the Delta table
    sha256: str  # of the rows and the hours that are cut out, however they are spread over files
    until_s: int  # the end of the newest day
    missing: int = 0  # days between the first and the last that the archive lacks; they count as quiet
    unknown: int = 0  # days of which it does not know which hours to cut out: none of theirs is

    def warnings(self) -> Iterator[str]:
        """What a person should know before this is learned from."""
        if self.missing:
            yield f"{self.missing} days are missing in the archive and count as quiet"
        if cut := len(self.table.cut_hours):
            yield f"{cut} hours are cut out: the feed was silent, or many messages were refused"
        if self.unknown:
            yield f"of {self.unknown} days nobody knows whether the feed was silent: they are used whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHours:
    """The time until which data say whether the feed was sound, and when it was not. Of a file all hours count."""

    until_s: float = inf
    cut_hours: frozenset[int] = frozenset()

    def says_something(self, hour_s: int) -> bool:
        """Whether the data say something of the hour that begins at `hour_s`."""
        return hour_s < self.until_s and hour_s // HOUR_S not in self.cut_hours


class NoDays(DataError):
    """The archive has nothing of a region yet."""


def is_archive(data: str) -> bool:
    return data.startswith(PREFIX)


def from_folder(data: str, folder: Path) -> str:
    """`data` of an option in a file that lies in `folder`: a path counts from there."""
    if not is_archive(data):
        return str(folder / data)
    place = data.removeprefix(PREFIX)
    return data if "://" in place else f"{PREFIX}{folder / place}"


def read_archive(data: str, *, region: str = "", like: Spec | None = None, may_miss: int = 0) -> ArchivedDays:
    """The days of a region in `archive:PATH`, or in its version with `archive:PATH@VERSION`.

    region: may be left out where the archive has one. like: only rows with its meaning; else those with that of the
    newest day. may_miss: days that may be missing in between. Raises DataError for an archive that cannot be read,
    another region or meaning, and for more missing days. Storage options come from the environment (AWS_...).
    """
    opened = _open(data)
    if not region:
        regions = sorted({part["region"] for part in opened.partitions()})
        if len(regions) != 1:
            raise DataError(f"{data} has {len(regions)} regions ({', '.join(regions[:9])})", remedy="name the region")
        region = str(regions[0])
    rows, meanings, names = _rows(opened, data, region)
    wanted = Meaning.of(like).text() if like else meanings[int(rows["meaning"][rows["day"].argmax()])]
    if wanted not in meanings:
        raise DataError(
            f"{data} has no counts of {region} for these cells, time zone, origins, masks and merging of calls",
            remedy="give --like an artifact with the archive's, or none",
        )
    rows = rows[rows["meaning"] == meanings.index(wanted)]
    archived = set(np.unique(rows["day"]).tolist())
    missing = set(range(min(archived), max(archived) + 1)) - archived
    if len(missing) > may_miss:
        shown = list(spans(missing))
        raise DataError(
            f"{data} lacks {len(missing)} days of {region} ({', '.join(shown[:9])}{', ...' if len(shown) > 9 else ''})",
            remedy="add them from a file with `risk archive --data FILE`, or let them count as quiet "
            f"with missing_days = {len(missing)}",
        )
    meaning = msgspec.json.decode(wanted, type=Meaning)
    days, first = np.unique(rows["day"], return_index=True)
    bits = rows[CUT_HOURS][first]
    is_known = bits != _NOT_KNOWN
    is_cut = (bits[:, None] >> np.arange(24) & 1).astype(np.bool_) & is_known[:, None]
    cut_hours = (days[:, None].astype(np.int64) * 24 + np.arange(24))[is_cut]
    counted = {names[number] for number in np.unique(rows["category"][rows["count"] > 0]).tolist()}
    categories = tuple(sorted(counted))  # that have incidents
    number = np.array([categories.index(name) if name in counted else -1 for name in names], np.int16)
    ordered = np.empty(len(rows), _ROW)
    for name in ("day", "cell", "bin", "count"):
        ordered[name] = rows[name]
    ordered["category"] = number[rows["category"]]
    rows = ordered[np.lexsort([ordered[name] for name in ("bin", "category", "cell", "day")])]
    content = hashlib.sha256(msgspec.json.encode([region, wanted, categories]))
    content.update(rows.tobytes())
    content.update(cut_hours.astype("<i8").tobytes())
    each = np.repeat(rows, np.maximum(rows["count"], 0))
    if not len(each):
        raise NoDays("the archive has no incident of the region", remedy="wait until some days are archived")
    occurred_s = each["day"].astype(np.int64) * DAY_S + each["bin"].astype(np.int64) * BIN_S
    in_time = np.argsort(occurred_s, kind="stable")
    each, (lat, lon) = each[in_time], meaning.grid.centres()
    table = IncidentTable(
        layout="archive",
        timezone=meaning.timezone,
        occurred_s=occurred_s[in_time],
        lat_deg=lat[each["cell"]],
        lon_deg=lon[each["cell"]],
        category=each["category"].astype(np.int16),
        row=np.arange(1, len(each) + 1),
        categories=categories,
        masked=meaning.masked,
        is_of_counts=True,
        cut_hours=cut_hours,
    )
    return ArchivedDays(
        table=table,
        meaning=meaning,
        version=int(opened.version()),
        sha256=content.hexdigest(),
        until_s=(max(archived) + 1) * DAY_S,
        missing=len(missing),
        unknown=int((~is_known).sum()),
    )


def known_hours(data: str, spec: Spec) -> KnownHours:
    """What `data` say of the feed of the spec's region. Raises DataError for an archive that cannot be read."""
    if not is_archive(data):
        return KnownHours()
    archived = read_archive(data, region=spec.region, like=spec, may_miss=sys.maxsize)
    return KnownHours(until_s=archived.until_s, cut_hours=frozenset(archived.table.cut_hours.tolist()))


def delta() -> Any:
    """The library of Delta tables, an extra. Raises SettingsError when it is not installed."""
    with needs_extra("archive"):
        import deltalake
    return deltalake


def error_text(error: Exception) -> str:
    """The library's error in one line, without its colours."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())


def day_number(day: date) -> int:
    """Days since 1970."""
    return day.toordinal() - EPOCH


def day_text(day: int) -> str:
    return date.fromordinal(EPOCH + day).isoformat()


def spans(days: Collection[int]) -> Iterator[str]:
    """Days since 1970 as text, each span as its first and last day."""
    starts = sorted(day for day in days if day - 1 not in days)
    ends = sorted(day for day in days if day + 1 not in days)
    for start, end in zip(starts, ends, strict=True):
        yield day_text(start) if start == end else f"{day_text(start)} to {day_text(end)}"


def _open(data: str) -> Any:
    library = delta()
    place, at, version = data.removeprefix(PREFIX).rpartition("@")
    if not at or not re.fullmatch(r"\d{1,15}", version):
        place, version = data.removeprefix(PREFIX), ""
    if "://" not in place and not Path(place).is_dir():
        raise DataError(f"{data}: there is no folder {place}", "`risk archive` makes it")
    try:
        return library.DeltaTable(place, version=int(version) if version else None)
    except library.exceptions.TableNotFoundError as error:
        raise NoDays(f"{data} is not an archive yet", remedy="`risk archive` begins it; check the path") from error
    except (library.exceptions.DeltaError, OSError, ValueError) as error:
        raise DataError(
            f"{data} cannot be read ({error_text(error)[:_SHOWN]})",
            "name the folder of RISK_ARCHIVE, or another version",
        ) from error


def _rows(opened: Any, data: str, region: str) -> tuple[npt.NDArray[np.void], list[str], list[str]]:
    """The region's rows, with numbers in place of meanings and names, and both by number."""
    import pyarrow.dataset as ds

    library = delta()
    options = ds.ParquetReadOptions(dictionary_columns={"category", "meaning"})
    try:
        dataset = opened.to_pyarrow_dataset(
            file_pruning_predicate=[("region", "=", region)], parquet_read_options=options
        )
        read = dataset.to_table(
            columns=[*_COLUMNS, CUT_HOURS], filter=ds.field("region") == region
        ).unify_dictionaries()
    except (library.exceptions.DeltaError, OSError, ValueError) as error:
        raise DataError(
            f"{data} cannot be read ({error_text(error)[:_SHOWN]})",
            remedy="name a newer version: files of deleted days are removed after a week",
        ) from error
    if not len(read):
        raise NoDays(f"{data} has no day of region {region!r}", remedy="check the region and the archive's path")
    rows = np.empty(len(read), [*_ROW.descr, ("meaning", "<i4"), (CUT_HOURS, "<i4")])
    texts = {}
    for name in ("category", "meaning"):
        column = read[name].combine_chunks().dictionary_encode()
        rows[name], texts[name] = column.indices.to_numpy(), column.dictionary.to_pylist()
    rows["day"] = read["day"].cast("int32").to_numpy()
    for name in ("cell", "bin", "count"):
        rows[name] = read[name].to_numpy()
    rows[CUT_HOURS] = read[CUT_HOURS].fill_null(_NOT_KNOWN).to_numpy()
    return rows, texts["meaning"], texts["category"]
