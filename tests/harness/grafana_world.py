"""What the scorer would have written: frames of two regions and their outcomes, by the job's own functions."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from lifecycle.gate import GatePlan, Trial
from lifecycle.live_judge import decided_line, drift_lines, following_lines, gate_line, shadow_line
from lifecycle.shadow import ShadowHour
from models.baseline import BaselineConstants
from models.dispersion import Dispersion
from models.outcomes import Forecast
from models.scoring import stored_views
from schemas.audit import AuditRecord
from schemas.decode import MARKS, Feedback
from schemas.event import REASONS
from schemas.forecasts import ClosedCounts
from schemas.frame import ATTRIBUTED_RANKS, ATTRIBUTION_GROUPS, RiskFrame, Unusual, riskiest
from schemas.spec import DAY_S, Spec
from streaming.flow.publish import closed_points, pipeline_line
from streaming.flow.rows import NO_CHALLENGER
from streaming.marks import mark_line
from streaming.sinks.line_protocol import risk_lines, top_lines, unusual_lines
from tests.harness.points import OF_THE_MACHINE
from tests.harness.region import make_region
from tests.harness.toy import state_of, toy_constants, toy_frame

SPECS = {name: make_region(name, south_deg=south).spec for name, south in (("northville", 42.0), ("southville", 38.0))}
MODEL, CHALLENGER = "20260101T000000Z-abc00000", "20260301T000000Z-def00000"
PLACE = Unusual(category="ems", row=1, col=2, rows=3, cols=2, hours=2, observed=12, usual=1.4, days=40.0)
CHANGE = "since 26 Nov: 06 to 09 h x 2.9, 5 cells x 2.7"
DATA_DAYS = 100  # ago, when the model's data ended
VARIABLES = {
    "region": "northville",
    "followed": "ems",
    "category": "ems",
    "categories": "ems",
    "horizon": "4h",
    "cell": "r002c002",
    "area": ".*",
    "colour.by": '"r"',
    "colour.known": "ok|sparse",
    "colour": "chance",
    "bucket": "risk",
    "contact": "nobody",
    "champion": MODEL,
    "challenger": CHALLENGER,
}
OURS = dict.fromkeys(OF_THE_MACHINE - {"challenger"}, 0.0) | {
    "lag_events": 3.0,
    "batch_s": 0.4,
    "freshness_s": 0.9,
    "state_bytes": 1e6,
}


def frame(spec: Spec, as_of_s: int, draw: np.random.Generator, *, model: str = MODEL) -> RiskFrame:
    """Scores as a model could give them; a third of the cells have no history, and the page's cell is a risky one."""
    shape = (spec.grid.cells, len(spec.categories), len(spec.horizons_s))
    usual = draw.gamma(0.3, 0.5, shape).astype(np.float32)
    usual[spec.grid.index_of(VARIABLES["cell"])] += 3
    expected = (usual * draw.uniform(0.5, 4, shape)).astype(np.float32)
    support = np.arange(spec.grid.cells) % 3
    risk = -np.expm1(-expected)
    return toy_frame(
        spec,
        expected,
        as_of_s=as_of_s,
        model=model,
        usual=usual,
        observed_1h=draw.poisson(0.2, shape[:2]).astype(np.int32),
        support=np.repeat(support[:, None], shape[1], axis=1).astype(np.uint8),
        attribution=made_of(expected / usual, risk, expected, draw),
        unusual=(PLACE,) if spec.region == "northville" else (),
    )


def made_of(lift, risk, expected, draw: np.random.Generator):
    """Factors of the riskiest cells that multiply to their lift."""
    _, categories, horizons = risk.shape
    logs = draw.normal(0, 0.3, (ATTRIBUTED_RANKS, categories, horizons, len(ATTRIBUTION_GROUPS)))
    for category, horizon in np.ndindex(categories, horizons):
        cells = riskiest(risk[:, category, horizon], expected[:, category, horizon], ATTRIBUTED_RANKS)
        ours = logs[: len(cells), category, horizon]
        ours[:, -1] = np.log(lift[cells, category, horizon]) - ours[:, :-1].sum(axis=1)
    return np.exp(logs[: len(risk)]).astype(np.float32)


def constants_of(spec: Spec) -> BaselineConstants:
    return replace(toy_constants(spec), dispersion=_dispersion(spec))


def _dispersion(spec: Spec) -> Dispersion:
    return Dispersion.quadratic(np.full((len(spec.categories), len(spec.horizons_s)), 3.0))


def score_lines(specs: Iterable[Spec], ticks: Iterable[int], draw: np.random.Generator) -> Iterator[bytes]:
    specs = list(specs)
    for tick_s in ticks:
        for spec in specs:
            scores = frame(spec, tick_s + 20, draw)
            for view in stored_views(scores, constants_of(spec)):
                yield risk_lines(view) + top_lines(view, 10)
            yield unusual_lines(scores)


def ledger(minute: int) -> dict[str, int]:
    """Totals after `minute` minutes of 30 messages each, one of them refused, and every reason used at some time."""
    totals = {"counted": 25 * minute, "corrected": 2 * minute, "duplicate": minute, "repeated": 0, "excluded": minute}
    kinds = len(REASONS)
    refused = {f"rejected_{reason}": (minute + kinds - 1 - i) // kinds for i, reason in enumerate(REASONS)}  # in turn
    known = {name: count for name, count in refused.items() if count}  # the job, too, knows only what it has met
    return {"consumed": 30 * minute, **totals, "rejected": minute, **known}


def pipeline(region: str, tick_s: int, minute: int, *, silent_s: int = 40, dropped: int = 0, **changes: Any) -> bytes:
    """The `pipeline` point of one minute, by the publisher's function.

    `changes` replace the model, the challenger, whether scores are withheld, figures of the machine, or totals of the
    ledger. Raises TypeError for any other name.
    """
    as_of_s, known = tick_s + 20, region != "_unassigned"
    model, challenger = changes.pop("model", MODEL), changes.pop("challenger", NO_CHALLENGER)
    followed_ago_s, is_withheld = changes.pop("followed_ago_s", 1800), changes.pop("is_withheld", False)
    ours = OURS | {"started_s": 1_700_000_000.0, "write_dropped": float(dropped)}
    ours |= {name: changes.pop(name) for name in OURS.keys() & changes.keys()}
    totals = {*ledger(minute), *(f"rejected_{reason}" for reason in REASONS)}
    if unknown := sorted(changes.keys() - totals):
        others = ["model", "challenger", "followed_ago_s", "is_withheld", "silent_s", "dropped"]
        raise TypeError(
            f"a pipeline point has no {', '.join(unknown)}; it has {', '.join(sorted({*others, *OURS, *totals}))}"
        )
    return pipeline_line(
        region,
        tick_s,
        as_of_s,
        ledger(minute) | changes,
        {name: figure for name, figure in ours.items() if figure is not None},
        newest_event_s=as_of_s - silent_s,
        model=model if known else None,
        is_withheld=is_withheld,
        data_end_s=as_of_s - DATA_DAYS * DAY_S if known else 0,
        followed_ago_s=followed_ago_s if known else None,
        middle=SPECS[region].grid.middle() if region in SPECS else "",
        change=CHANGE if region == "northville" else "",
        challenger=challenger if known else "",
    )


def outcome_lines(spec: Spec, tick_s: int, draw: np.random.Generator, *, ratio: float = 1.0) -> bytes:
    """`outcome` and `outcome_area` of a tick, all horizons closed, by the job's writer. ratio: seen over expected.

    The baseline ranks the cells the other way round, so that its hits differ from the model's.
    """
    places = (spec.grid.cells, len(spec.categories))
    hours = np.array([horizon_s / 3600 for horizon_s in spec.horizons_s])
    weights = np.linspace(0.2, 1.8, spec.grid.cells)[:, None, None]
    expected = np.broadcast_to(10 * hours * weights / spec.grid.cells, (*places, len(hours))).astype(np.float32)
    raised = np.full((len(spec.categories), len(hours)), 1.5)
    forecast = Forecast(
        model=MODEL,
        expected=expected,
        usual=0.9 * expected[::-1],
        dispersion=_dispersion(spec),
        usual_dispersion=_dispersion(spec),
        raised=raised if tick_s // 3600 % 7 == 0 else None,
    )
    came = [
        ClosedCounts(
            horizon=number,
            tick_s=tick_s,
            judged_s=tick_s + 100_000,
            observed=draw.poisson(ratio * mean).astype("<i4").tobytes(),
        )
        for number, mean in enumerate(np.moveaxis(expected.astype(float), 2, 0))
    ]
    return b"".join(closed_points(forecast, one, spec) for one in came)


def feedback_lines(region: str, end_s: int, draw: np.random.Generator, *, days: int = 20) -> bytes:
    """What a shift marked on each of so many days before `end_s`, by the writer of marks."""
    marks = [
        Feedback(region=region, cell="r002c002", at=datetime.fromtimestamp(at_s, UTC), mark=mark, desk="north")
        for day in range(1, days + 1)
        for mark in MARKS
        for at_s in draw.integers(end_s - day * DAY_S, end_s - (day - 1) * DAY_S, int(draw.integers(1, 5))).tolist()
    ]
    return b"".join(map(mark_line, marks))


def follower_lines(spec: Spec, end_s: int, draw: np.random.Generator, *, days: int = 10) -> bytes:
    """What a follower learned in so many days before `end_s`, by the judge's writers: half as many again came, in the
    morning twice as many, and four times as many in the first cells."""
    state, lines = state_of(spec, 1.5), []
    hours, cells = (1000 * np.ones_like(part) for part in (state.hours, state.cells))
    hours[0, :, 6:9], cells[0, :, :5], cells[0, :, 5:8] = 2000, 4000, 300
    for at_s in range(end_s - days * DAY_S, end_s, 3600):
        seen = state_of(spec, 1 + 0.5 * (1 - (end_s - at_s) / DAY_S / days))
        seen = replace(seen, hours=hours, cells=cells, still=np.full_like(seen.still, 0.2))
        gains = [(float(draw.normal(0.2, 1)), int(draw.poisson(5))) for _ in spec.categories]
        lines += [following_lines(spec, MODEL, seen, at_s, gains)]
    return b"".join(lines)


def shadow_lines(spec: Spec, end_s: int, draw: np.random.Generator, *, days: int = 20, tried: int = 10) -> bytes:
    """`shadow`, `gate` and `drift` of so many days before `end_s`, by the job's writers.

    On the last `tried` days there is a challenger. It is better; the champion expects a tenth too much.
    """
    started_s = end_s - tried * DAY_S
    trial = Trial(
        champion=MODEL, challenger=CHALLENGER, plan=GatePlan(), plan_sha256="0" * 64, margin=2e-4, started_s=started_s
    )
    hours: list[ShadowHour] = []
    lines = []
    for tick_s in range(end_s - days * DAY_S, end_s, 3600):
        hours.append(_shadow_hour(spec, tick_s, draw, CHALLENGER if tick_s >= started_s else ""))
        if hours[-1].challenger_version:
            lines.append(shadow_line(spec.region, hours[-1]))
        if tick_s % DAY_S == 0 or tick_s == end_s - 3600:
            lines += [gate_line(spec, trial, hours), drift_lines(spec, hours)]
    details = {"region": spec.region, "version": MODEL, "role": "champion", "by": "eve", "because": "better by 2 %"}
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    promoted = AuditRecord(sequence=1, at=at, event="model_promoted", details=details, previous="", hash="")
    lines += [decided_line(spec, MODEL, [promoted], end_s)]
    return b"".join(lines)


def _shadow_hour(spec: Spec, tick_s: int, draw: np.random.Generator, challenger: str) -> ShadowHour:
    score = 0.1 + 0.001 * draw.standard_normal()
    better = 2e-4 + 1e-4 * draw.standard_normal() if challenger else 0.0
    return ShadowHour(
        tick_s=tick_s,
        horizon=spec.horizon_names[0],
        champion_version=MODEL,
        challenger_version=challenger,
        values=1000,
        champion=1000 * score,
        challenger=1000 * (score - better),
        baseline=1000 * (score + 1e-3),
        observed={category: int(draw.poisson(5)) for category in spec.categories},
        champion_expected=dict.fromkeys(spec.categories, 5.5),
        challenger_expected=dict.fromkeys(spec.categories, 5.0),
    )
