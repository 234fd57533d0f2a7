"""Files of outside series for training: CSV or Parquet with the columns of the contract, one value a row."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from schemas.covariate import VALUE, Covariate, Values, is_for_an_hour, value_of
from schemas.errors import DataError
from schemas.limits import MAX_COVARIATE_ROWS

if TYPE_CHECKING:  # it takes a third of a second to import, and a training without such a file does not need it
    import pyarrow as pa

COLUMNS = Covariate.__struct_fields__
_REMEDY = f"give a .csv or .parquet file with the columns {', '.join(COLUMNS)}, as in schemas/covariate.schema.json"


def read_covariates(path: Path, region: str) -> tuple[tuple[str, ...], Values]:
    """(names of the region's series, sorted; their values, in the order of issue). `series` counts from the names.

    Raises DataError when the file cannot be read, a row breaks the contract, or no row is of the region.
    """
    rows = list(_rows(path, region))
    if not rows:
        raise DataError(f"{path} has no row of the region {region}", f"its `region` must say {region}, as the task")
    names = tuple(sorted({row.series for row in rows}))
    places = {name: place for place, name in enumerate(names)}
    values = np.array([value_of(row, places[row.series]) for row in rows], VALUE)
    return names, values[np.argsort(values["issued_s"], kind="stable")]


def _rows(path: Path, region: str) -> Iterator[Covariate]:
    records = (record for batch in _table(path).to_batches() for record in batch.to_pylist())
    for number, record in enumerate(records, start=1):
        if record["region"] != region:
            continue
        try:
            read = msgspec.convert(record, Covariate, strict=False)  # its value may be written as text
            row = msgspec.convert({**record, "value": read.value}, Covariate)  # its times may be no numbers
        except msgspec.ValidationError as error:
            raise _fault(path, number, record, *str(error).split(" - at `$.")) from error
        if not is_for_an_hour(row):
            raise _fault(path, number, record, "Expected a whole hour of UTC", "valid_at")
        yield row


def _fault(path: Path, number: int, record: dict[str, Any], what: str, place: str = "") -> DataError:
    """place: the column, where a value is at fault; what: as the decoder says it."""
    column = place.rstrip("`")
    if column not in record:
        return DataError(f"{path}, data row {number}: {what}", _REMEDY)
    remedy = "write times as 2026-03-14T06:00:00Z" if column in ("issued_at", "valid_at") else _REMEDY
    return DataError(f"{path}, data row {number}: {column} is {record[column]!r}: {what}", remedy)


def _table(path: Path) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import csv, parquet

    kinds: dict[str, Any] = dict.fromkeys(COLUMNS, pa.string())
    try:
        if path.suffix == ".parquet":
            table = parquet.read_table(path, columns=list(COLUMNS))
        else:
            options = csv.ConvertOptions(column_types=kinds, include_columns=list(COLUMNS))
            table = csv.read_csv(path, convert_options=options)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read ({str(error)[:200]})", _REMEDY) from error
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise DataError(f"{path} has no column {', '.join(missing)}", _REMEDY)
    if table.num_rows > MAX_COVARIATE_ROWS:
        raise DataError(f"{path} has {table.num_rows:,} rows, at most {MAX_COVARIATE_ROWS:,} are read", _REMEDY)
    return _in_microseconds(table)


def _in_microseconds(table: "pa.Table") -> "pa.Table":
    """The table with times that `datetime` can hold: pandas writes nanoseconds."""
    import pyarrow as pa

    fields = [
        field.with_type(pa.timestamp("us", field.type.tz)) if str(field.type).startswith("timestamp[ns") else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields), safe=False)
