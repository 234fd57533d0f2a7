"""The model card says what an artifact is, from measured figures."""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import asdict

from models.features import FeatureEngine
from models.files.data_report import RowCount
from models.files.layouts import LAYOUTS, OWNERS_TERMS
from models.local_time import minute
from models.training.train import LACKS, NO_GAIN, TOP_SHARE, Trained, calibration, gains_nothing
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
    past, spec, blocks, constants = trained.past, trained.past.spec, trained.blocks, trained.constants
    by_category = calibration(trained.tallies, spec.categories, len(spec.horizons_s) - 1)
    dates = {"first": past.first_s, "cutoff": past.cutoff_s, "validation": blocks.validation_s, "test": blocks.test_s}
    older, cells = constants.older, constants.cell_dispersion
    spread = ""
    nowcast = "There is no nowcast: in the hours of training the last one told nothing of the next that was worth it."
    if cells.size:
        wide, narrow = float((cells < 1).mean()), float((cells > 1).mean())
        spread = (
            f"Counts spread wider than the region's in {wide:.0%} of all cells, categories and horizons, and less wide "
            f"in {narrow:.0%}: this made intervals and chances better on the time that chose.\n"
        )
    if chosen := constants.nowcast:
        ahead = ", ".join(map("{} {:.0%}".format, spec.horizon_names, chosen.ahead.tolist()))
        nowcast = (
            "Nowcast: the last hours raise the forecast where they brought far more than was expected. Half-life of "
            f"a count {float(chosen.half_life_hours):g} h; chance of a surge before anything is counted "
            f"{float(chosen.prior):.1%}; of the chance that another category surges {float(chosen.shared):.0%} is "
            f"added; of the factor is left over each horizon: {ahead}."
        )
    # The neighbourhood's weight in a cell's rate, as `cell_rate` mixes it: s / (remembered days + s).
    half_life, days = float(constants.half_life_days), (past.cutoff_s - past.first_s) / DAY_S
    remembered = half_life / np.log(2) * (1 - 0.5 ** (days / half_life))
    shrink = [f"{of_category:g}" for of_category in constants.shrink_days.tolist()]
    thin = [f"{share:.0%}" for share in constants.shrink_days / (remembered + constants.shrink_days)]
    dispersion = constants.network_dispersion or constants.dispersion
    excess = 1 + dispersion.excess(np.ones(dispersion.r.shape)).mean(axis=0)
    support = FeatureEngine(spec, constants).compute(trained.history).support
    of_support = np.bincount(support.ravel(), minlength=len(SUPPORT)) / support.size
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
        results="\n".join(
            f"| {row.horizon} | {row.baseline_deviance:.5f} | {row.network_deviance:.5f} "
            f"| {row.baseline_log_score:.5f} | {row.network_log_score:.5f} | {row.difference_text()} | {row.verdict} |"
            for row in trained.rows
        ),
        verdict="; ".join(f"{row.horizon}: {VERDICTS[row.verdict]}" for row in trained.rows),
        gain=f"{NO_GAIN}.\n" if gains_nothing(trained.rows) else "",
        totals=", ".join(f"{row.horizon} {row.forecast_over_actual:.3f}" for row in trained.rows),
        baseline_totals=", ".join(f"{row.horizon} {row.baseline_over_actual:.3f}" for row in trained.rows),
        coverage=", ".join(f"{row.horizon} {row.coverage_90:.1%}" for row in trained.rows),
        top=TOP_SHARE,
        hits=", ".join(f"{row.horizon} {row.hit_rate:.1%}" for row in trained.rows),
        share=", ".join(map("{} {:.0%}".format, spec.horizon_names, trained.network.share.tolist())),
        by_category=", ".join(f"{name} {ratio:.3f}" for name, ratio in by_category.items()),
        half_life=constants.half_life_days,
        older=f" {float(older.share):.0%} of a cell's part of the region is its mean over all days." if older else "",
        shrink=_of_categories(shrink, spec.categories, "{name} {text}"),
        dispersion=spread,
        excess=", ".join(map("{} {:.2f}".format, spec.horizon_names, excess)),
        together=float(constants.region_spreads[-1]) ** 0.5,
        nowcast=nowcast,
        support=", ".join(map("{} {:.0%}".format, SUPPORT, of_support)),
        thin=_of_categories(thin, spec.categories, "{text} ({name})"),
    )


def _of_categories(texts: Sequence[str], categories: Sequence[str], form: str) -> str:
    """One text where all are equal."""
    if len(set(texts)) == 1:
        return texts[0]
    return ", ".join(form.format(name=name, text=text) for name, text in zip(categories, texts, strict=True))
