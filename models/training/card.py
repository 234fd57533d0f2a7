"""The model card says what an artifact is, from measured figures."""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import asdict

from models.features import FeatureEngine
from models.files.data_report import RowCount
from models.files.layouts import LAYOUTS, OWNERS_TERMS
from models.local_time import minute
from models.training.train import LACKS, NO_GAIN, TOP_SHARE, HorizonResult, Trained, calibration, gains_nothing
from schemas.frame import SUPPORT
from schemas.spec import DAY_S

VERDICTS: Mapping[str, str] = {
    "better": "better than the baseline: the interval lies below zero",
    "tie": "a tie with the baseline: the interval contains zero",
    "worse": "worse than the baseline: the interval lies above zero",
    **{name: f"not known: {lacks}" for name, lacks in LACKS.items()},
}
_TEXT = """# Model card: {region}

Expected incidents and the probability of at least one, for each square of {cell_m:.0f} m ({rows} x {cols}), category
and horizon ({horizons}), so that units can stand ready where the next hours' incidents are likely.
Purpose: {purpose}.

## Data
{incidents:,} incidents inside the grid, {first} to {cutoff} UTC, categories {categories}.
Two fits. The first learned on the time before {validation} ({examples:,} cells at moments), made its choices on the
time until {test}, and was judged on the rest, which no choice has seen; a gap as long as the longest horizon lies
between. The second is what serves: fitted again on all of the time until {cutoff}, with those choices held.
{notice}

The file, what lies after that time included:

| rows | what | what became of them |
| --- | --- | --- |
{seen}

## How good it is
These are the figures of the first fit: no time is left to judge the second on. Over all cells, quiet ones included.
Log score: negative binomial, smaller is better. The interval is a 95 % bootstrap of blocks of three days.

| horizon | Poisson deviance, baseline | network | log score, baseline | network | difference (95 %) | verdict |
| --- | --- | --- | --- | --- | --- | --- |
{results}

Verdict: {verdict}.
{gain}
The baseline here is the product's own. `risk evaluate` puts a network like this one, made for one horizon,
beside simple rules, a Poisson regression and trees on the same file: ask it before you trust the network more.

Forecast over what came (1 is calibrated), network: {totals}; baseline: {baseline_totals}.
By category over the longest horizon: {by_category}.
Its 90 % intervals cover (by the randomised PIT): {coverage}. Of the incidents of each category, the {top:.0%} of the
cells with any history that it puts first hold: {hits}.
Of the network's correction of the baseline is served what suited the time that chose: {share}.

## Baseline
Half-life of the memory {half_life:.0f} days.{older} Days of the neighbourhood's rate mixed into a cell's own: {shrink}.
Variance over mean where one incident is expected: {excess}.
From hour to hour the whole region lies {together:.0%} around its baseline, beyond chance.
{nowcast}
{dispersion}Where the verdict is not `better`, the baseline is as good. It scores when the network cannot be read.

## Where it is thin
Of all cells and categories at the cut-off: {support}. A cell's usual rate is by {thin} that of its
neighbourhood: all of a `no_history` score is, and the few incidents of a `sparse` one may be chance.

## What it is not for
It scores places, never people. It is for readiness: where ambulances, engines and crews wait. Not for enforcement,
stops, searches, patrol targeting, insurance, lending or hiring, and not for judging a neighbourhood: reported incidents
are not all incidents, and who reports differs from place to place. A decision about a person must never rest on it.
"""


def card_text(trained: Trained, *, layout: str, file_rows: Sequence[RowCount]) -> str:
    """The card in Markdown, every figure from this training. file_rows: how the file's rows were used."""
    past, spec, blocks = trained.past, trained.past.spec, trained.blocks
    by_category = calibration(trained.tallies, spec.categories, len(spec.horizons_s) - 1)
    dates = {"first": past.first_s, "cutoff": past.cutoff_s, "validation": blocks.validation_s, "test": blocks.test_s}
    return _TEXT.format(
        region=spec.region,
        **asdict(spec.grid),
        incidents=len(past.incidents),
        horizons=", ".join(spec.horizon_names),
        categories=", ".join(spec.categories),
        purpose=spec.purpose or "not named, so no category was refused",
        **{name: minute(at_s) for name, at_s in dates.items()},
        examples=trained.examples,
        notice=LAYOUTS[layout].notice if layout in LAYOUTS else OWNERS_TERMS,
        seen="\n".join(f"| {line.rows:,} | {line.what} | {line.decision} |" for line in file_rows),
        results="\n".join(map(_line, trained.rows)),
        verdict="; ".join(f"{row.horizon}: {VERDICTS[row.verdict]}" for row in trained.rows),
        gain=f"{NO_GAIN}.\n" if gains_nothing(trained.rows) else "",
        totals=", ".join(f"{row.horizon} {row.forecast_over_actual:.3f}" for row in trained.rows),
        baseline_totals=", ".join(f"{row.horizon} {row.baseline_over_actual:.3f}" for row in trained.rows),
        coverage=", ".join(f"{row.horizon} {row.coverage_90:.1%}" for row in trained.rows),
        top=TOP_SHARE,
        hits=", ".join(f"{row.horizon} {row.hit_rate:.1%}" for row in trained.rows),
        share=", ".join(map("{} {:.0%}".format, spec.horizon_names, trained.network.share.tolist())),
        by_category=", ".join(f"{name} {ratio:.3f}" for name, ratio in by_category.items()),
        half_life=trained.constants.half_life_days,
        older=_older(trained),
        shrink=_shrink(trained),
        dispersion=_dispersion(trained),
        excess=_excess(trained),
        together=float(trained.constants.region_spreads[-1]) ** 0.5,
        nowcast=_nowcast(trained),
        support=_support(trained),
        thin=_thin(trained),
    )


def _line(row: HorizonResult) -> str:
    return (
        f"| {row.horizon} | {row.baseline_deviance:.5f} | {row.network_deviance:.5f} | {row.baseline_log_score:.5f} "
        f"| {row.network_log_score:.5f} | {row.difference_text()} | {row.verdict} |"
    )


def _older(trained: Trained) -> str:
    older = trained.constants.older
    return f" {float(older.share):.0%} of a cell's part of the region is its mean over all days." if older else ""


def _shrink(trained: Trained) -> str:
    categories, days = trained.past.spec.categories, trained.constants.shrink_days.tolist()
    if len(set(days)) == 1:
        return f"{days[0]:g}"
    return ", ".join(f"{name} {of_category:g}" for name, of_category in zip(categories, days, strict=True))


def _thin(trained: Trained) -> str:
    """The neighbourhood's weight in a cell's rate by category, as `cell_rate` mixes it: s / (remembered days + s)."""
    constants, past = trained.constants, trained.past
    half_life, days = float(constants.half_life_days), (past.cutoff_s - past.first_s) / DAY_S
    remembered = half_life / np.log(2) * (1 - 0.5 ** (days / half_life))
    shares = [f"{share:.0%}" for share in constants.shrink_days / (remembered + constants.shrink_days)]
    if len(set(shares)) == 1:
        return shares[0]
    return ", ".join(f"{share} ({name})" for name, share in zip(past.spec.categories, shares, strict=True))


def _excess(trained: Trained) -> str:
    """By horizon, the mean over the categories of 1 + the dispersion's excess."""
    dispersion = trained.constants.network_dispersion or trained.constants.dispersion
    excess = 1 + dispersion.excess(np.ones(dispersion.r.shape)).mean(axis=0)
    return ", ".join(f"{name} {ratio:.2f}" for name, ratio in zip(trained.past.spec.horizon_names, excess, strict=True))


def _dispersion(trained: Trained) -> str:
    factors = trained.constants.cell_dispersion
    if not factors.size:
        return ""
    wide, narrow = float((factors < 1).mean()), float((factors > 1).mean())
    return (
        f"Counts spread wider than the region's in {wide:.0%} of all cells, categories and horizons, and less wide in "
        f"{narrow:.0%}: this made intervals and chances better on the time that chose.\n"
    )


def _nowcast(trained: Trained) -> str:
    nowcast = trained.constants.nowcast
    if nowcast is None:
        return "There is no nowcast: in the hours of training the last one told nothing of the next that was worth it."
    ahead = ", ".join(map("{} {:.0%}".format, trained.past.spec.horizon_names, nowcast.ahead.tolist()))
    return (
        "Nowcast: the last hours raise the forecast where they brought far more than was expected. Half-life of "
        f"a count {float(nowcast.half_life_hours):g} h; chance of a surge before anything is counted "
        f"{float(nowcast.prior):.1%}; of the chance that another category surges {float(nowcast.shared):.0%} is added; "
        f"of the factor is left over each horizon: {ahead}."
    )


def _support(trained: Trained) -> str:
    support = FeatureEngine(trained.past.spec, trained.constants).compute(trained.history).support
    shares = np.bincount(support.ravel(), minlength=len(SUPPORT)) / support.size
    return ", ".join(f"{name} {share:.0%}" for name, share in zip(SUPPORT, shares, strict=True))
