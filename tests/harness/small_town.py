"""Files of incidents that are learned from in seconds, and files of tasks as the commands read them.

A made town; and the sample's day again on each day of five weeks.
"""

import csv
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from streaming.rehearse.incident_replay import SAMPLE, shifted
from tests.harness.toy import iso

LAYOUT = "time=when,lat=lat,lon=lon,category=kind,timezone=UTC"
START_S, DAYS = 1_600_000_000 // 86_400 * 86_400, 60


def write_town(path: Path, *, seed: int) -> Path:
    """60 incidents a day over 4 x 4 km for 60 days, at half or one and a half of that for a week at a time."""
    random = np.random.default_rng(seed)
    level = np.where(random.random(DAYS // 7 + 1) < 0.5, 0.5, 1.5).repeat(7)[:DAYS]
    day = np.repeat(np.arange(DAYS), random.poisson(60 * level))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["when", "lat", "lon", "kind"])
        for at_s in START_S + day * 86_400 + random.integers(0, 86_400, len(day)):
            when = iso(at_s)
            kind = "fire" if random.random() < 0.5 else "ems"
            writer.writerow([when, 41 + 0.036 * random.beta(1, 2), -87 + 0.048 * random.random(), kind])
    return path


def task_file(path, *tables, **fields):
    """Write a table `[[regions]]` with the fields, or one for each of `tables`, and give the path."""
    lines = []
    for table in tables or (fields,):
        lines += ["[[regions]]"]
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in table.items()}
        lines += [f"{name} = {json.dumps(value)}" for name, value in plain.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


SAMPLE_DAYS = 35


def sample_weeks():
    """The table of five weeks that begin with the sample's day."""
    day = read_incidents(SAMPLE, LAYOUTS["sample"])
    occurred_s = [shifted(day.occurred_s, day.timezone, days=number) for number in range(SAMPLE_DAYS)]
    table = day.select(np.tile(np.arange(len(day)), SAMPLE_DAYS))
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
