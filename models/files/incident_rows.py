"""The rows of an incident file, packed or not; files in which a quote swallows rows are refused."""

import csv
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import IO, cast

from models.files.file_checks import refuse_columns
from models.files.layouts import Layout
from schemas.errors import DataError

_FEW_LINES = 5  # a row of at most so many is not checked for others inside it


@contextmanager
def open_rows(
    path: Path, layout: Layout
) -> Iterator[tuple[Callable[[list[str]], tuple[str, ...]], Iterator[list[str]]]]:
    """A function that takes the layout's fields out of a row, and the file's rows: of a .csv, .csv.gz or .zip.

    Raises DataError, also while the rows are read.
    """
    try:
        with ExitStack() as opened:
            raw = opened.enter_context(_bytes(path, opened))
            # Bytes that are no UTF-8 are replaced: they may stand in columns that we do not read.
            text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="")
            rows = _whole_rows(text, layout, path)
            header = list(layout.header or next(rows, ()))
            if not header:
                raise DataError(f"{path} is empty", remedy="give another file")
            used = [layout.time_column, layout.lat_column, layout.lon_column, layout.category_column]
            used += [layout.end_column] if layout.end_column else []
            columns = [[name] if name in header else name.split("+") for name in used]
            refuse_columns(header, [name for parts in columns for name in parts], layout.delimiter, path)
            places = [[header.index(name) for name in parts] for parts in columns]
            if all(len(parts) == 1 for parts in places):
                yield itemgetter(*(place for (place,) in places)), rows
            else:
                yield lambda fields: tuple(" ".join(fields[place] for place in parts) for parts in places), rows
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error})", "give a .csv, .csv.gz or .zip with one .csv") from error


def _whole_rows(text: Iterable[str], layout: Layout, path: Path) -> Iterator[list[str]]:
    """The rows, with the header line. Raises DataError for a row that holds others: its quote was not closed."""
    reader = csv.reader(text, delimiter=layout.delimiter)
    columns = len(layout.header or ())
    number, line = (1, 0) if columns else (0, 0)  # a header line is row 0

    def refusal(what: str) -> DataError:
        row = f"row {number:,}" if number else "the header"
        return DataError(
            f"{path}, {row} (line {line + 1:,}): {what}", "a quote was probably not closed; close or remove it there"
        )

    try:
        for fields in reader:
            columns = columns or len(fields)
            if line == 0 and "\0" in "".join(fields):
                raise DataError(f"{path} is UTF-16 or no text", "convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)")
            if reader.line_num - line > _FEW_LINES and (not number or _holds_rows(fields, columns, layout.delimiter)):
                raise refusal(f"a field extends over {reader.line_num - line:,} lines that look like rows")
            yield fields
            number, line = number + 1, reader.line_num
    except csv.Error as error:
        raise refusal(str(error)) from error


def _holds_rows(fields: list[str], columns: int, delimiter: str) -> bool:
    """Whether most lines inside of fields have as many delimiters as a row. A text of many lines has not."""
    lines = [line for field in fields for line in field.splitlines()[1:-1]]
    return 2 * sum(line.count(delimiter) == columns - 1 for line in lines) > len(lines)


def _bytes(path: Path, opened: ExitStack) -> IO[bytes]:
    if path.suffix != ".zip":
        return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")
    try:
        archive = opened.enter_context(zipfile.ZipFile(path))
        members = [name for name in archive.namelist() if name.lower().endswith(".csv")]
        if len(members) != 1:
            raise DataError(f"{path} holds {len(members)} .csv files ({members[:5]})", "unpack it and name one of them")
        return archive.open(members[0])
    except RuntimeError as error:  # encrypted, or packed in a way that Python does not know
        raise DataError(f"{path} cannot be unpacked here ({error})", "unpack it, and give the .csv") from error
