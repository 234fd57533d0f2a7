"""Where a checkpoint has what belongs to trials.

<checkpoint>/shadow/forecasts/    the challenger's forecasts: see `kept_forecasts`
                    closed/       counts of closed horizons: see `closed_counts`
                    <region>.jsonl    judged hours, written by the judge
"""

from pathlib import Path


def trial_folder(checkpoint: Path) -> Path:
    return checkpoint / "shadow"


def forecasts_folder(checkpoint: Path) -> Path:
    return trial_folder(checkpoint) / "forecasts"


def closed_folder(checkpoint: Path) -> Path:
    return trial_folder(checkpoint) / "closed"


def outcomes_folder(checkpoint: Path) -> Path:
    return checkpoint / "outcomes"
