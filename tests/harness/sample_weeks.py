"""The sample's day again on each day of weeks: enough to train on, for tests that need a file of incidents."""

import csv
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from streaming.rehearse.incident_replay import SAMPLE, shifted

DAYS = 35


def sample_weeks():
    """The table of five weeks that begin with the sample's day."""
    day = read_incidents(SAMPLE, LAYOUTS["sample"])
    occurred_s = [shifted(day.occurred_s, day.timezone, days=number) for number in range(DAYS)]
    table = day.select(np.tile(np.arange(len(day)), DAYS))
    return replace(table, occurred_s=np.concatenate(occurred_s), row=np.arange(1, len(table) + 1))


def write_sample_weeks(folder):
    """The same as a file in the layout `sample`, in a folder; its path."""
    path = folder / "weeks.csv"
    table, zone = sample_weeks(), ZoneInfo("America/New_York")
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("occurred_at", "category", "lat", "lon"))
        for at_s, number, lat, lon in zip(table.occurred_s, table.category, table.lat_deg, table.lon_deg, strict=True):
            at = datetime.fromtimestamp(int(at_s), zone).replace(tzinfo=None).isoformat()
            rows.writerow((at, table.categories[number], lat, lon))
    return path
