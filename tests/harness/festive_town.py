"""A town that has six times as many incidents on the days of matches, which a file names."""

import csv
from datetime import UTC, datetime

import numpy as np

from tests.harness.small_town import START_S
from tests.harness.toy import iso

DAY_S, DAYS = 86_400, 80
MATCHES = np.flatnonzero(np.random.default_rng(3).random(DAYS + 30) < 0.3)  # days after START_S, some still to come


def date_of(day):
    return datetime.fromtimestamp(START_S + int(day) * DAY_S, UTC).date().isoformat()


def write_festive_town(folder):
    """`town.csv`, incidents over 4 x 4 km, and `days.csv`, which has a name that the town does not feel, too."""
    random = np.random.default_rng(1)
    level = np.where(np.isin(np.arange(DAYS), MATCHES), 240, 40)
    day = np.repeat(np.arange(DAYS), random.poisson(level))
    with (folder / "town.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["when", "lat", "lon", "kind"])
        for at_s in START_S + day * DAY_S + random.integers(0, DAY_S, len(day)):
            place = (41 + 0.036 * random.random(), -87 + 0.048 * random.random())
            writer.writerow([iso(at_s), *place, random.choice(["ems", "fire"])])
    write_days(folder / "days.csv", match=MATCHES, fair=range(5, DAYS + 30, 9))


def write_days(path, **days):
    lines = [f"{date_of(day)},{name}" for name, those in days.items() for day in those]
    path.write_text("\n".join(["date,name", *lines]), encoding="utf-8")
