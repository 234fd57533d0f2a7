"""When a region needs a new challenger, and the asking: a trigger never changes what scores.

What became of the last ask is in <artifacts>/<region>/retrain.json, for those who look after it.
"""

import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from lifecycle.shadow import ShadowDay, mean_scores, observed_over_expected, whole_enough
from models.comparison import bounds_of
from schemas.errors import ArtifactError, GateClosed, RegistryError, RiskError
from schemas.files import read_small_json, replace_file, write_errors
from schemas.limits import DRIFT_BAND
from schemas.spec import DAY_S, HOUR_S

OLDEST_DAYS = 90  # since the end of the champion's data
ALPHA = 0.05
LEAST_DAYS = 14  # before drift is judged
RESTART_DAYS = 14  # after so many days another sequence begins
FOLLOWING_DAYS = 7  # before what following gains is judged, and after so many another sequence begins
MOST_GAINED = 0.01  # nats an incident
SKILL_DAYS = 28  # before skill is judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Observed over expected of the champion in its newest `days`, with the bounds of their confidence sequence."""

    name: str  # a category, or `all`
    days: int
    ratio: float
    low: float
    high: float

    @property
    def beyond(self) -> float:
        """How far the bounds lie outside of what is allowed; up to 0 they do not."""
        return max(self.low - DRIFT_BAND[1], DRIFT_BAND[0] - self.high)


def drift_of(days: Sequence[ShadowDay]) -> list[Drift]:
    """The drift of the region and of each category; empty before LEAST_DAYS. `days` are of one champion, in order.

    Of its network alone: what is followed hides that it has become wrong.

    A change late in a champion's life is diluted by the days before it, and widens its own bounds. So a sequence begins
    every RESTART_DAYS; the one that says most is given. All of them, of all names, err in ALPHA together.
    """
    used = whole_enough(days)
    if len(used) < LEAST_DAYS:
        return []
    categories = sorted(used[0].observed)
    drifts = []
    for name, members in (("all", categories), *((category, [category]) for category in categories)):
        observed, expected = (
            np.array([sum(getattr(day, field)[category] for category in members) for day in used])
            for field in ("observed", "alone_expected")
        )
        starts = range(0, len(used) - LEAST_DAYS + 1, RESTART_DAYS)
        share = ALPHA / (1 + len(categories))
        parts = [share / ((number + 1) * (number + 2)) for number in range(len(starts))]  # they sum to at most `share`
        sequences = list[Drift]()
        for start, part in zip(starts, parts, strict=True):
            ratio, low, high = observed_over_expected(observed[start:], expected[start:], alpha=part / 2)
            sequences.append(Drift(name=name, days=len(used) - start, ratio=ratio, low=low, high=high))
        drifts.append(max(sequences, key=lambda drift: drift.beyond))
    return drifts


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionRecord:
    """What a trigger reads of a champion: its days so far, and how old its data are."""

    days: Sequence[ShadowDay]
    age_days: float  # since the end of its data, or since its cold start
    is_trained: bool  # else it was made from a guess, and there are no data
    was_better: bool  # whether its card calls it better than its baseline at the shortest horizon


def data_are_old(record: ChampionRecord) -> list[str]:
    if record.age_days <= OLDEST_DAYS:
        return []
    since = "its data end" if record.is_trained else "it was made from a guess, not from incidents,"
    return [f"{since} {record.age_days:.0f} days ago, more than {OLDEST_DAYS}"]


def incidents_drift(record: ChampionRecord) -> list[str]:
    return [
        f"observed over expected of {drift.days} days is {drift.ratio:.2f} ({drift.low:.2f} to {drift.high:.2f}) "
        f"in {drift.name}"
        for drift in drift_of(record.days)
        if drift.beyond > 0
    ]


def skill_is_gone(record: ChampionRecord) -> list[str]:
    """Only a champion that was better than its baseline can lose that."""
    days = whole_enough(record.days)
    if not record.was_better or len(days) < SKILL_DAYS:
        return []
    skill = bounds_of(mean_scores(days, "baseline") - mean_scores(days, "champion"), alpha=ALPHA)
    if skill.lower[-1] > 0:
        return []
    return [f"after {len(days)} days it is no longer shown to be better than its baseline"]


def following_gains(record: ChampionRecord) -> list[str]:
    """Where the network alone has become so much worse than with what it follows, it is time for another network."""
    days = whole_enough(record.days)
    gained = np.array([day.alone - day.champion for day in days])
    came = np.array([sum(day.observed.values()) for day in days])
    for number, start in enumerate(range(0, len(days) - FOLLOWING_DAYS + 1, FOLLOWING_DAYS)):
        more = bounds_of(gained[start:] - MOST_GAINED * came[start:], alpha=ALPHA / ((number + 1) * (number + 2)))
        if more.lower[-1] > 0:
            by = gained[start:].sum() / came[start:].sum()
            return [
                f"in {len(days) - start} days following gained {by:.3f} nats an incident, more than {MOST_GAINED:g}: "
                "the network alone no longer fits"
            ]
    return []


# Each gives the reasons why a challenger is due; none when it is not.
TRIGGERS: tuple[Callable[[ChampionRecord], list[str]], ...] = (
    data_are_old,
    incidents_drift,
    following_gains,
    skill_is_gone,
)


def triggers(record: ChampionRecord) -> list[str]:
    """Why a challenger is due; empty when none is."""
    return [reason for trigger in TRIGGERS for reason in trigger(record)]


Outcome = Literal["nothing due", "on trial", "waits", "trial started", "refused", "failed"]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last ask. Times: epoch seconds."""

    at_s: int
    outcome: Outcome
    because: str  # in one line
    made_s: int | None = None  # the last one that started a trial


def asked_path(artifacts: Path, region: str) -> Path:
    return artifacts / region / "retrain.json"


def read_asked(artifacts: Path, region: str) -> Asked | None:
    """None for a region that was never asked. Raises ArtifactError when it cannot be read."""
    return read_small_json(asked_path(artifacts, region), Asked, remedy="delete it: the next ask writes it")


def keep_asked(artifacts: Path, region: str, outcome: Outcome, because: str, *, now_s: float) -> None:
    """Write down an ask of a region that has a folder. Raises ArtifactError."""
    path, at_s, made_s = asked_path(artifacts, region), int(now_s), None
    if not path.parent.is_dir():
        return
    if outcome == "trial started":
        made_s = at_s
    else:
        with suppress(ArtifactError):  # it is written again
            before = read_asked(artifacts, region)
            made_s = before.made_s if before else None
    asked = Asked(at_s=at_s, outcome=outcome, because=" ".join(because.split())[:1000], made_s=made_s)
    with write_errors(ArtifactError, path):
        replace_file(path, msgspec.json.format(msgspec.json.encode(asked)) + b"\n")


EVERY_S, RETRY_S = DAY_S, HOUR_S  # after an ask, and after one that failed


def ask_each(
    regions: Iterable[str],
    ask: Callable[[str], tuple[Outcome, str]],
    artifacts: Path,
    *,
    say: Callable[[str], None],
    now_s: Callable[[], float],
    due_alone: bool = False,
) -> Exception | None:
    """Ask each region now, and say what became of it. Gives the first fault, for the caller to say.

    ask: gives what became of a region's ask and why. It raises GateClosed when a challenger was due and is not tried,
    anything else when the ask failed. say: prints a line. now_s: epoch seconds.

    due_alone: only those that were last asked a day ago, or an hour ago if that failed, so that it may be called as
    often as one likes. A refusal is no fault then, and a failure stays one until the next ask.
    """
    first: Exception | None = None
    for region in regions:
        fault: Exception | None = None
        before = _asked_lately(artifacts, region, now_s()) if due_alone else None
        if before is None:
            try:  # first, as it may be killed; where nothing can be written down, nothing is asked
                keep_asked(artifacts, region, "failed", "it did not come to its end", now_s=now_s())
                outcome, because = ask(region)
            except Exception as error:
                fault = error
                outcome, because = _of_fault(error)
            else:
                say(f"{region}: {outcome}: {because}")
            try:
                keep_asked(artifacts, region, outcome, because, now_s=now_s())
            except (RiskError, OSError) as error:
                fault = fault or error
        elif before.outcome == "failed":
            because = f"the last ask of {region} failed ({before.because})"
            fault = RegistryError(because, "nothing: it is asked again an hour after that")
        is_answer = due_alone and isinstance(fault, GateClosed)
        if fault and (first or is_answer):
            if not isinstance(fault, RiskError):  # nobody expects it
                say("".join(traceback.format_exception(fault)))
            say(f"{region}: {': '.join(_of_fault(fault))}")
        first = first or (None if is_answer else fault)
    return first


def _asked_lately(artifacts: Path, region: str, now_s: float) -> Asked | None:
    """The last ask, if it is too early for another one."""
    try:
        before = read_asked(artifacts, region)
    except ArtifactError:
        return None
    wait_s = RETRY_S if before and before.outcome == "failed" else EVERY_S
    # A clock that was set back must not stop the asking
    return before if before and abs(now_s - before.at_s) < wait_s else None


def _of_fault(fault: Exception) -> tuple[Outcome, str]:
    if isinstance(fault, RiskError):
        return "refused" if isinstance(fault, GateClosed) else "failed", str(fault)
    return "failed", f"{type(fault).__name__}: {fault}"
