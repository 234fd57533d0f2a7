"""Whether the judged hours are old, and why: a decision that nobody brings up to date looks like one that waits."""

from pathlib import Path

from lifecycle.gate.shadow_day import judged_hours
from models.local_time import minute
from schemas.left_behind.closed_counts import ClosedFiles, closed_folder, last_grace_s
from schemas.spec import HOUR_S, Spec

ALLOWED_LATE_S = 3 * HOUR_S  # after an hour may be judged; the judge looks every quarter of an hour


def judged_late(checkpoint: Path, spec: Spec, *, since_s: int, now_s: float) -> str:
    """Why nothing newer is judged, and what to do; empty where the judge keeps up. since_s: when the trial began."""
    newest_s = max((hour.tick_s for hour in judged_hours(checkpoint, spec)), default=0)
    waits_since_s = max(newest_s, since_s)
    if now_s <= waits_since_s + spec.horizons_s[0] + last_grace_s(spec) + ALLOWED_LATE_S:
        return ""
    judged = f"the newest judged hour began at {minute(newest_s)} UTC" if newest_s else "no hour is judged"
    if waiting := len(ClosedFiles(closed_folder(checkpoint)).waiting(spec.region)):
        return f"{judged}, and {waiting} files of counts wait: see `python -m lifecycle watch --check`"
    return f"{judged}, and the job has closed no other one: see whether it runs, and RISK_CHECKPOINT"
