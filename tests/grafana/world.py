"""What the scorer would have written: frames of two regions, by the sink's own functions, and their outcomes.

`outcome_lines` stands in for the writer of outcomes: it names the fields that the page "Does it help?" asks for.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import numpy as np

from schemas.event import REASONS
from schemas.frame import RiskFrame
from schemas.spec import Spec
from streaming.lines import pipeline_lines, risk_lines, tag, top_lines
from streaming.publish import ledger_line
from tests.harness.region import make_region

SPECS = {name: make_region(name, south_deg=south).spec for name, south in (("northville", 42.0), ("southville", 38.0))}
VARIABLES = {
    "region": "northville",
    "category": "ems",
    "horizon": "4h",
    "cell": "r002c003",
    "colour": '"r" / 0.05',
    "bucket": "risk",
    "contact": "nobody",
}
MODEL = "20260101T000000Z-abc"
# Fields of `pipeline` that the page asks for and the publisher does not write yet.
NOT_WRITTEN_YET = {"state_bytes": 1e6, "write_retries": 0, "write_dropped": 0, "started_s": 1_700_000_000}
SHARES = {"hits": 1.0, "baseline_hits": 0.8, "ideal_hits": 1.6}  # of 5 % in a twentieth of the area


def frame(spec: Spec, as_of_s: int, draw: np.random.Generator, *, model: str = MODEL) -> RiskFrame:
    """Scores as a model could give them; a third of the cells have no history."""
    shape = (spec.grid.cells, len(spec.categories), len(spec.horizons_s))
    usual = draw.gamma(0.3, 0.5, shape).astype(np.float32)
    expected = (usual * draw.uniform(0.5, 4, shape)).astype(np.float32)
    support = np.arange(spec.grid.cells) % 3
    return RiskFrame(
        spec=spec,
        as_of_s=as_of_s,
        model=model,
        expected=expected,
        risk=-np.expm1(-expected),
        low=np.zeros(shape, np.float32),
        high=np.ceil(expected * 3),
        usual=usual,
        observed_1h=draw.poisson(0.2, shape[:2]).astype(np.int32),
        support=np.repeat(support[:, None], shape[1], axis=1).astype(np.uint8),
    )


def score_lines(specs: Iterable[Spec], ticks: Iterable[int], draw: np.random.Generator) -> Iterator[bytes]:
    specs = list(specs)
    for tick_s in ticks:
        for spec in specs:
            scores = frame(spec, tick_s + 20, draw)
            yield risk_lines(scores) + top_lines(scores, 10)


def ledger(minute: int) -> dict[str, int]:
    """Totals after `minute` minutes of 30 messages each, one of them refused, and every reason used at some time."""
    totals = {"counted": 25 * minute, "corrected": 2 * minute, "duplicate": minute, "excluded": minute}
    kinds = len(REASONS)
    refused = {f"rejected_{reason}": (minute + kinds - 1 - i) // kinds for i, reason in enumerate(REASONS)}  # in turn
    return {"consumed": 30 * minute, **totals, "rejected": minute, **refused}


def pipeline(region: str, tick_s: int, minute: int, *, silent_s: int = 40, **changes: int) -> bytes:
    """The `pipeline` point of one minute, by the publisher's function; `changes` replace totals of the ledger."""
    as_of_s = tick_s + 20
    written = ledger_line(
        region,
        tick_s,
        as_of_s=as_of_s,
        totals=ledger(minute) | changes,
        newest_event_s=as_of_s - silent_s,
        model=None if region == "_unassigned" else MODEL,
        of_the_machine={"lag_events": 3, "batch_s": 0.4, "freshness_s": 0.9},
    )
    return written + pipeline_lines(region, tick_s, NOT_WRITTEN_YET)


def outcome_lines(spec: Spec, tick_s: int, draw: np.random.Generator, *, ratio: float = 1.0) -> bytes:
    """`outcome` and `outcome_area` of a tick whose horizons have closed. ratio: seen over expected."""
    moment = datetime.fromtimestamp(tick_s, UTC)
    lines = []
    for category in spec.categories:
        for name, horizon_s in zip(spec.horizon_names, spec.horizons_s, strict=True):
            expected = horizon_s / 360.0
            events = float(draw.poisson(expected * ratio))
            fields = {
                "events": events,
                **{f"{kind}_{k}": events * share * k / 20 for k in (5, 10) for kind, share in SHARES.items()},
                "expected": expected,
                "usual": expected * 0.9,
                "observed": events,
                "brier": 0.1,
                "baseline_brier": 0.11,
                "log_score": 0.3,
                "baseline_log_score": 0.32,
                "closed_s": float(tick_s + horizon_s + 60),
                "weekday": float(moment.isoweekday()),
                "hour": float(moment.hour),
            }
            tags = f"category={tag(category)},horizon={name},region={tag(spec.region)}"
            lines.append(f"outcome,{tags} {','.join(f'{key}={value!r}' for key, value in fields.items())} {tick_s}")
            lines += [
                f"outcome_area,{tags},district={district} expected={expected / 2!r},observed={events / 2!r} {tick_s}"
                for district in ("east", "west")
            ]
    return ("\n".join(lines) + "\n").encode()
