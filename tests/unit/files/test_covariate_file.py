"""Files of outside series: what is read, and what is refused with its row."""

import csv
from datetime import UTC, datetime

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from models.files.covariate_file import COLUMNS, read_covariates
from models.training.outside_series import OutsideSeries, with_outside_series
from models.training.regions import RegionTask
from schemas.errors import DataError
from schemas.spec import CovariateSeries
from tests.harness.toy import toy_spec

ROWS = [
    ("toyville", "wind", "2026-03-14T06:00:00Z", "2026-03-14T09:00:00Z", "3.5"),
    ("elsewhere", "wind", "not read", "", ""),
    ("toyville", "rain", "2026-03-14T00:00:00-05:00", "2026-03-14T08:00:00Z", "0"),
    ("toyville", "wind", "2026-03-14T06:00:00Z", "2026-03-14T10:00:00Z", "-1e2"),
]


def write_csv(path, rows, columns=COLUMNS):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([columns, *rows])
    return path


def changed(number, **fields):
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    rows[number] |= fields
    return [tuple(row.values()) for row in rows]


def hour_of(text):
    return int(datetime.fromisoformat(text).timestamp()) // 3600


def test_rows_of_the_region_become_values_in_the_order_of_issue(tmp_path):
    names, values = read_covariates(write_csv(tmp_path / "a.csv", ROWS), "toyville")
    assert names == ("rain", "wind")
    assert values["series"].tolist() == [0, 1, 1]
    assert values["value"].tolist() == [0.0, 3.5, -100.0]
    assert values["hour"].tolist() == [hour_of(f"2026-03-14T{hour}:00:00+00:00") for hour in ("08", "09", "10")]
    assert (np.diff(values["issued_s"]) >= 0).all()


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_parquet_with_typed_columns_gives_the_same_values(tmp_path, unit):
    of_region = [row for row in ROWS if row[0] == "toyville"]
    region, series, issued, valid, value = zip(*of_region, strict=True)
    times = [
        pa.array([datetime.fromisoformat(text).astimezone(UTC) for text in column], pa.timestamp(unit, "UTC"))
        for column in (issued, valid)
    ]
    table = pa.table({"region": region, "series": series, "issued_at": times[0], "valid_at": times[1],
                      "value": [float(text) for text in value], "note": [""] * 3})  # fmt: skip
    parquet.write_table(table, tmp_path / "a.parquet")
    of_csv = read_covariates(write_csv(tmp_path / "a.csv", ROWS), "toyville")
    of_parquet = read_covariates(tmp_path / "a.parquet", "toyville")
    assert of_parquet[0] == of_csv[0]
    np.testing.assert_array_equal(of_parquet[1], of_csv[1])


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"issued_at": "2026-03-14 06:00"}, "row 4: .*issued_at"),
        ({"issued_at": "20260314"}, "row 4: .*issued_at"),
        ({"valid_at": "1773471600"}, "row 4: .*valid_at"),
        ({"valid_at": "2026-03-14T09:30:00Z"}, "row 4: valid_at is '2026-03-14T09:30:00Z': Expected a whole hour"),
        ({"value": "nan"}, "row 4: .*value"),
        ({"value": ""}, "row 4: .*value"),
    ],
)
def test_a_row_that_breaks_the_contract_is_named(tmp_path, fields, fault):
    with pytest.raises(DataError, match=fault):
        read_covariates(write_csv(tmp_path / "a.csv", changed(3, **fields)), "toyville")


def test_a_file_that_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(DataError, match="no row of the region atlantis"):
        read_covariates(write_csv(tmp_path / "a.csv", ROWS), "atlantis")
    with pytest.raises(DataError, match=r"cannot be read .*value"):
        read_covariates(write_csv(tmp_path / "b.csv", [row[:4] for row in ROWS], COLUMNS[:4]), "toyville")
    with pytest.raises(DataError, match="cannot be read"):
        read_covariates(tmp_path / "none.csv", "toyville")
    (tmp_path / "c.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read"):
        read_covariates(tmp_path / "c.parquet", "toyville")


def task(path="", **changes):
    return RegionTask(**{"data": "", "region": "toyville", "covariates": str(path), **changes})


def test_the_series_of_the_file_join_the_spec(tmp_path):
    spec, outside = with_outside_series(
        toy_spec(), task(write_csv(tmp_path / "a.csv", ROWS), covariate_max_age_hours=7)
    )
    assert [(series.name, series.max_age_hours) for series in spec.covariates] == [("rain", 7), ("wind", 7)]
    assert spec.features[-9:-3] == tuple(f"cov_{name}_{h}" for name in ("rain", "wind") for h in ("1h", "4h", "24h"))
    assert len(outside.values) == 3
    assert len(outside.sha256) == 64
    assert with_outside_series(toy_spec(), task()) == (toy_spec(), OutsideSeries())


def test_a_spec_that_is_kept_decides_the_series_and_their_order(tmp_path):
    path = write_csv(tmp_path / "a.csv", ROWS)
    series = tuple(CovariateSeries(name=name, max_age_hours=5) for name in ("wind", "rain"))
    like = toy_spec(covariates=series)
    spec, outside = with_outside_series(like, task(path, like="folder"))
    assert spec == like
    assert outside.values["series"].tolist() == [1, 0, 0]
    with pytest.raises(DataError, match="uses the outside series wind, rain: give"):
        with_outside_series(like, task(like="folder"))
    other = msgspec.structs.replace(like, covariates=series[:1])
    with pytest.raises(DataError, match="has the series rain, wind, and the artifact of --like wind"):
        with_outside_series(other, task(path, like="folder"))
