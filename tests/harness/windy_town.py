"""A town whose rate follows an outside series by a known factor, and forecasts of it."""

import csv

import numpy as np

from models.files.covariate_file import COLUMNS
from schemas.covariate import VALUE
from tests.harness.toy import iso, toy_table

HOUR, DAY = 3600, 86_400
START = 1_600_000_000 // DAY * DAY
DAYS = 80
EFFECT = 0.7  # log of the factor on the rate for one unit of the series
AHEAD = 36  # hours that each issue covers
EVERY = 6  # hours between two issues


def wind():
    """(hours,) of mean 0 and spread 1, for all days and as long as a forecast beyond."""
    random, memory = np.random.default_rng(0), 0.85
    hours = 24 * DAYS + AHEAD
    series = np.empty(hours)
    series[0] = random.normal()
    for hour in range(1, hours):
        series[hour] = memory * series[hour - 1] + np.sqrt(1 - memory**2) * random.normal()
    return series


def town(series):
    """Incidents over 4 x 4 km: 150 a day at a mean hour, times exp(EFFECT x series) in each hour."""
    random = np.random.default_rng(1)
    expected = 150 / 24 * np.exp(EFFECT * series[: 24 * DAYS])
    hour = np.repeat(np.arange(24 * DAYS), random.poisson(expected))
    when = np.sort(START + hour * HOUR + random.integers(0, HOUR, len(hour)))
    return toy_table(
        when,
        lat_deg=41 + 0.036 * random.random(len(when)),
        lon_deg=-87 + 0.048 * random.random(len(when)),
        category=random.integers(0, 2, len(when)).astype(np.int16),
    )


def forecasts(series, *, late_hours=0):
    """The series as perfect forecasts, issued every EVERY hours for AHEAD hours; late_hours: issued that much later."""
    runs = np.arange(0, 24 * DAYS, EVERY)
    hour = (runs[:, None] + np.arange(AHEAD)).ravel()
    values = np.empty(len(hour), VALUE)
    values["series"], values["hour"], values["value"] = 0, START // HOUR + hour, series[hour]
    values["issued_s"] = START + (np.repeat(runs, AHEAD) + late_hours) * HOUR
    return values


def write_town(path, table):
    """A file of small_town's LAYOUT."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["when", "lat", "lon", "kind"])
        columns = (table.occurred_s.tolist(), table.lat_deg, table.lon_deg, table.category)
        for at_s, lat, lon, category in zip(*columns, strict=True):
            writer.writerow([iso(at_s), lat, lon, table.categories[category]])


def write_forecasts(path, values, region="town"):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for value in values:
            times = (iso(value["issued_s"]), iso(value["hour"] * HOUR))
            writer.writerow([region, "wind", *times, value["value"]])
