"""Training end to end on made-up regions: repeatable, silent about noise, able to find what is there; and its table."""

from contextlib import suppress
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.stats import nbinom

from models.artifact import read_artifact
from models.baseline import OlderDays
from models.comparison import ADDS_NOTHING, LEAST_BLOCKS
from models.dispersion import Dispersion
from models.evaluation.rival_contract import poisson_loss
from models.evaluation.rivals import Boosting
from models.features import FeatureEngine
from models.files.data_report import RowCount
from models.training.fit_baseline import Blocks, fit_constants
from models.training.fit_network import Examples, FitState, fit_network
from models.training.region_tasks import progress_bars
from models.training.replay import IncidentHistory, Replay
from models.training.train import (
    HorizonResult,
    TrainingOptions,
    calibration,
    horizon_results,
    remarks,
    tally_of,
    train,
)
from models.training.train_region import card_text, spec_for
from schemas.errors import DataError
from schemas.spec import DAY_S
from tests.harness.made_examples import one_penalty
from tests.harness.toy import publish_artifact, toy_constants, toy_spec, toy_table

DAY = 86_400
START = 1_600_000_000 // DAY * DAY
DAYS = 210
_FEW_DAYS = 60


def region(level_of_day, seed=0):
    """Incidents over a 5 x 5 km square, 200 a day, busier in the south, times the day's level."""
    random = np.random.default_rng(seed)
    when = np.concatenate(
        [START + day * DAY + np.sort(random.integers(0, DAY, random.poisson(200 * level))) for day, level in
         enumerate(level_of_day)]
    )  # fmt: skip
    south = random.beta(1, 2, len(when))
    return toy_table(
        when,
        lat_deg=41 + 0.045 * south,
        lon_deg=-87 + 0.06 * random.random(len(when)),
        category=random.integers(0, 2, len(when)).astype(np.int16),
    )


def past_of(table, days=DAYS):
    cutoff_s = START + days * DAY
    return IncidentHistory.of(table, spec_for(table, region="made", cell_m=1000, cutoff_s=cutoff_s), cutoff_s)


def trained(table, fit=fit_network, days=DAYS, report=lambda what, share: None, **changes):
    torch.set_num_threads(1)
    options = TrainingOptions(**{"step_s": DAY, "epochs": 3, "seed": 0} | changes)
    return train(past_of(table, days), options, report=report, fit=fit)


def card_of(made, file_rows=()):
    return card_text(made, layout="made", file_rows=file_rows)


def published(made, folder):
    parts = {name: getattr(made, name) for name in ("constants", "network", "history")}
    return publish_artifact(folder, spec=made.past.spec, card=card_of(made), **parts)


@pytest.fixture(scope="module")
def noise():
    return trained(region(np.ones(DAYS)))


@pytest.fixture(scope="module")
def swinging():
    """The whole region is at half or at one and a half of its mean for a week at a time."""
    level = np.where(np.random.default_rng(3).random(DAYS // 7 + 1) < 0.5, 0.5, 1.5)
    return trained(region(np.repeat(level, 7)[:DAYS]))


def test_on_pure_noise_nothing_is_claimed(noise):
    for horizon, row in enumerate(noise.rows):
        assert row.verdict == "tie"
        incidents = sum(tally.actual[:, horizon].sum() for tally in noise.tallies)
        chance = 4 / np.sqrt(min(incidents, 200 * 31))  # of the total; horizons that overlap count one many times
        assert row.baseline_over_actual == pytest.approx(1, abs=chance)
        assert row.forecast_over_actual == pytest.approx(1, abs=chance)
    assert noise.constants.cell_dispersion.size == 0
    assert noise.constants.dispersion_in_cells(of_network=True) is noise.constants.dispersion
    assert "Counts spread wider" not in card_of(noise)


def test_a_swinging_level_is_found(swinging):
    for row in swinging.rows:
        assert row.verdict == "better", row
    assert swinging.rows[2].difference < -0.01 * swinging.rows[2].baseline_log_score


@pytest.fixture(scope="module")
def rare():
    """The region's first category, and one of 40 incidents, all over the place."""
    common, random = region(np.ones(DAYS)), np.random.default_rng(5)
    when = np.sort(START + random.integers(0, DAYS * DAY, 40))
    lat, lon = 41 + 0.045 * random.random(40), -87 + 0.06 * random.random(40)
    all_when = np.concatenate([common.occurred_s, when])
    order = np.argsort(all_when, kind="stable")
    table = toy_table(
        all_when[order],
        lat_deg=np.concatenate([common.lat_deg, lat])[order],
        lon_deg=np.concatenate([common.lon_deg, lon])[order],
        category=np.repeat(np.array([0, 1], np.int16), (len(common), 40))[order],
    )
    return past_of(table)


def test_a_rare_category_borrows_more_from_the_neighbourhood_than_a_common_one(rare):
    """Else a cell where none has happened yet is taken for nearly safe, whatever happens next door."""
    blocks = Blocks.of(rare.first_s, rare.cutoff_s)
    constants = fit_constants(rare, blocks)
    common, own = constants.shrink_days.tolist()
    assert common <= 20 < 160 <= own
    surprise = {}
    for days in (common, own):
        replay = Replay(rare)
        engine = FeatureEngine(rare.spec, replace(constants, shrink_days=np.array([common, days])))
        surprise[days] = 0.0
        for at_s in range(blocks.test_s, blocks.end_s - DAY, DAY):
            expected = np.exp(engine.compute(replay.lead_to(at_s)).values[:, 1, -1].astype(np.float64))
            counts = rare.counts(at_s, at_s + DAY)[:, 1]
            surprise[days] += float((expected - counts * np.log(expected)).sum())
    assert surprise[own] < surprise[common] - 1


def test_the_card_says_how_much_each_category_borrows_and_what_is_of_all_days(noise):
    first, second = noise.constants.shrink_days.tolist()
    assert first == second  # categories of one pattern share it
    older = OlderDays(
        counts=np.ones((noise.past.spec.grid.cells, 2)),
        share=np.array(0.75),
        end_day=np.array(noise.constants.first_day),
    )
    changed = replace(noise.constants, older=older, shrink_days=np.array([2.0, 640.0]))
    cards = [card_of(made) for made in (noise, replace(noise, constants=changed))]
    assert "mixed into a cell's own: " in cards[0]
    names = noise.past.spec.categories
    assert f"cell's own: {names[0]} 2, {names[1]} 640." in cards[1]
    assert [" 75% of a cell's part of" in card for card in cards] == [False, True]


def test_the_baseline_follows_a_level_that_changed_for_good():
    """Two thirds more calls from the middle of the validation block on: the slow memory alone forecasts too few."""
    past = past_of(region(np.where(np.arange(DAYS) < 0.78 * DAYS, 1.0, 1.67)))
    blocks = Blocks.of(past.first_s, past.cutoff_s)
    follows = fit_constants(past, blocks)
    assert follows.level_half_life_days == 7
    stays = replace(follows, half_life_days=np.array(120.0), level_half_life_days=np.array(120.0))
    expected = {}
    for name, constants in (("follows", follows), ("stays", stays)):
        replay, engine = Replay(past), FeatureEngine(past.spec, constants)
        moments = range(blocks.test_s, blocks.end_s - DAY, DAY)
        days = [np.exp(engine.compute(replay.lead_to(at_s)).values[:, :, -1]).sum() for at_s in moments]
        expected[name] = np.sum(days) / past.counts(moments[0], moments[-1] + DAY).sum()
    assert 0.92 < expected["follows"] < 1.02  # two half-lives after the change
    assert expected["stays"] < 0.85


def test_where_nothing_changes_the_level_is_followed_all_the_same(noise):
    assert noise.constants.half_life_days > 60  # of the memory: validation likes the level to stay as well
    assert noise.constants.level_half_life_days == 60


def test_the_baseline_is_close_to_the_likeliest_forecast_of_the_known_process(noise):
    """On a stationary process the baseline's deviance must be near that of the true mean."""
    past = noise.past
    spec = past.spec
    lat, lon = spec.grid.corners()
    edges = np.clip((lat - 41) / 0.045, 0, 1)
    rows = (1 - (1 - edges[1:]) ** 2) - (1 - (1 - edges[:-1]) ** 2)  # beta(1, 2) mass of each row
    cols = np.diff(np.clip((lon + 87) / 0.06, 0, 1))
    truth = np.maximum(np.outer(rows, cols).ravel()[:, None] * 100, 1e-9)  # per day and category
    replay, engine = Replay(past), FeatureEngine(spec, noise.constants)
    values = engine.compute(replay.lead_to(START + (DAYS - 2) * DAY)).values
    usual = np.exp(values[:, :, -1])
    busy = truth[:, 0] > 2
    assert np.abs(usual[busy] / truth[busy] - 1).mean() < 0.15


def test_what_the_history_holds_is_not_counted_again_when_the_topic_tells_it(noise, tmp_path):
    artifact = read_artifact(published(noise, tmp_path))
    past, state, history = noise.past, artifact.history(), artifact.history()
    last_day = past.incidents.select(np.arange(past.position(past.cutoff_s - DAY), len(past.incidents)))
    sent = replace(last_day, key=last_day.key + np.uint64(1))  # with ids of their own, as from the centre
    applied = state.apply(sent, past.cutoff_s)
    assert len(sent) > 100
    assert applied.outcomes == {"counted": 0, "corrected": 0, "duplicate": 0, "repeated": 0, "excluded": len(sent)}
    for name, level in history.levels.items():
        np.testing.assert_array_equal(state.levels[name].ring, level.ring)
    since = replace(sent, key=sent.key + np.uint64(1), occurred_s=sent.occurred_s + DAY)
    assert state.apply(since, past.cutoff_s + DAY).outcomes["counted"] == len(sent)


def test_the_artifact_and_its_card_say_what_was_measured(swinging, tmp_path):
    file_rows = [RowCount(what="bad time", rows=3, decision="left out", example="row 7 'noon'")]
    card = card_of(swinging, file_rows)
    assert "| 3 | bad time | left out |" in card
    assert "noon" not in card  # nothing of a file's rows goes into an artifact
    for row in swinging.rows:
        assert row.difference_text() in card
        assert f"{row.network_deviance:.5f}" in card
    assert "never people" in card
    assert read_artifact(published(swinging, tmp_path)).network_fault is None


def test_a_network_that_adds_nothing_is_said_on_the_card_and_at_the_terminal(noise, swinging):
    assert [ADDS_NOTHING in list(remarks(made.rows)) for made in (noise, swinging)] == [True, False]
    of_noise, of_swinging = card_of(noise), card_of(swinging)
    assert (f"{ADDS_NOTHING}.\n" in of_noise, "correction" in of_noise) == (True, False)
    assert (ADDS_NOTHING in of_swinging, "correction" in of_swinging) == (False, True)


@pytest.fixture(scope="module")
def alternating():
    """60 days that the network follows, of which every second pair has three times as many incidents as the others."""
    return region(np.where(np.arange(_FEW_DAYS) % 4 < 2, 0.5, 1.5))


def noted(table, **changes):
    """What training gives; (data, fitted network) of the fit that is judged and the one that serves; its reports."""
    fits, reports = [], []

    def fit(data, plan, after_epoch):
        fits.append((data, fit_network(data, plan, after_epoch)))
        return fits[-1][1]

    def report(what, share):
        reports.append((what, share))

    with one_penalty():
        return trained(table, fit=fit, days=_FEW_DAYS, report=report, step_s=DAY // 2, **changes), fits, reports


@pytest.fixture(scope="module")
def followed(alternating):
    return noted(alternating)


def test_the_choice_of_the_baseline_and_the_replay_that_judges_are_told_as_they_go_on(followed):
    """Either stood still for minutes on a large file."""
    *_, reports = followed
    shares = {of: [share for what, share in reports if what == of] for of in ("baseline", "replay")}
    assert shares["baseline"] == [0, 0.2, 0.4, 0.6, 0.8, 1]
    before_the_end = [share for share in shares["replay"] if 0.87 < share < 1]  # judged is the last 15 %
    assert len(set(before_the_end)) > 4


def same_weights(first, second):
    weights, others = first.state_dict(), second.state_dict()
    return weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)


def test_equal_seeds_give_equal_weights_and_others_do_not(alternating, followed):
    network = followed[0].network
    assert same_weights(noted(alternating)[0].network, network)
    assert not same_weights(noted(alternating, seed=1)[0].network, network)


def test_nothing_is_fitted_or_chosen_by_the_block_that_is_judged(alternating, followed):
    judged = alternating.occurred_s >= Blocks.of(int(alternating.occurred_s[0]), START + _FEW_DAYS * DAY).test_s
    other = replace(
        alternating,
        category=np.where(judged, 1 - alternating.category, alternating.category).astype(np.int16),
        lat_deg=np.where(judged, 82.045 - alternating.lat_deg, alternating.lat_deg),
    )
    (first, fits, _), (again, fits_again, _) = followed, noted(other)
    (data, fitted), (data_again, fitted_again) = fits[0], fits_again[0]
    for part in ("train", "validation"):  # the baseline's constants are in their values
        assert torch.equal(getattr(data, part).values, getattr(data_again, part).values)
    assert data.dispersion == data_again.dispersion
    assert same_weights(fitted.network, fitted_again.network)
    assert fitted.kept == fitted_again.kept != FitState()
    assert [row.network_log_score for row in first.rows] != [row.network_log_score for row in again.rows]


def test_too_few_incidents_are_refused_with_the_reason():
    table = region(np.ones(DAYS))
    with pytest.raises(DataError, match="at least 500 over 21 days"):
        spec_for(table, region="made", cell_m=1000, cutoff_s=START + 5 * DAY)


CELLS = 30
SPEC = toy_spec(5, 6)
CONSTANTS = toy_constants(SPEC, dispersion=Dispersion.quadratic([[1.0, 3.0, 9.0], [50.0, 50.0, 50.0]]))


def tallies(network_factor, baseline_factor=1.0, moments=120):
    """Counts of a known mean, and two forecasts that are that mean times a factor."""
    random = np.random.default_rng(0)
    made = []
    for moment in range(moments):
        mean = random.gamma(0.5, size=(CELLS, 2, 3)).astype(np.float32) + np.float32(0.01)
        counts = random.poisson(mean).astype(np.int32)
        factor = network_factor * np.exp(0.01 * random.normal()) if network_factor != 1 else 1.0
        usual, expected = mean * np.float32(baseline_factor), mean * np.float32(factor)
        made.append(tally_of(moment * 6 * 3600, usual, expected, counts, CONSTANTS, np.arange(CELLS)))
    return made


@pytest.mark.parametrize(
    ("network", "baseline", "judged", "moments", "verdict"),
    [
        (1.0, 1.6, 100, 120, "better"),
        (1.6, 1.0, 100, 120, "worse"),
        (1.0, 1.0, 100, 120, "tie"),
        (1.0, 1.6, 100, 100, "too short"),
        (1.0, 1.6, 99, 120, "too few"),
    ],
)
def test_verdicts_follow_the_truth_where_enough_is_known(network, baseline, judged, moments, verdict):
    rows = horizon_results(tallies(network, baseline, moments), SPEC, judged=judged, seed=0)
    assert [row.horizon for row in rows] == ["1h", "4h", "24h"]
    for row in rows:
        assert row.verdict == verdict
        assert row.difference_low <= row.difference <= row.difference_high
        assert row.baseline_over_actual == pytest.approx(baseline, rel=0.1)
        assert row.forecast_over_actual == pytest.approx(network, rel=0.1)


def test_hits_and_coverage_are_those_counted_cell_by_cell():
    made = tallies(1.3, moments=60)
    random = np.random.default_rng(0)
    caught, actual, inside, values = np.zeros(3), np.zeros(3), np.zeros(3), 0
    for moment in range(60):
        mean = random.gamma(0.5, size=(CELLS, 2, 3)).astype(np.float32) + np.float32(0.01)
        counts = random.poisson(mean)
        expected = (mean * np.float32(1.3 * np.exp(0.01 * random.normal()))).astype(float)
        uniform = np.random.default_rng(moment * 6 * 3600).random(mean.shape)
        for category, horizon in np.ndindex(2, 3):
            of, came = expected[:, category, horizon], counts[:, category, horizon]
            first = np.argsort(-of)[:2]  # 5 % of 30 cells, rounded
            caught[horizon] += came[first].sum()
            actual[horizon] += came.sum()
            r = CONSTANTS.dispersion.r[category, horizon]
            spread = nbinom(r, r / (r + of))
            pit = spread.cdf(came - 1) + uniform[:, category, horizon] * spread.pmf(came)
            inside[horizon] += ((pit >= 0.05) & (pit < 0.95)).sum()
        values += 2 * CELLS
    rows = horizon_results(made, SPEC, judged=100, seed=0)
    np.testing.assert_allclose([row.hit_rate for row in rows], caught / actual)
    np.testing.assert_allclose([row.coverage_90 for row in rows], inside / values)


def test_calibration_is_the_ratio_of_the_sums():
    made = tallies(1.6)
    for name, ratio in calibration(made, ("fire", "ems"), 2).items():
        category = ("fire", "ems").index(name)
        forecast = sum(tally.forecast[1][category, 2] for tally in made)
        actual = sum(tally.actual[category, 2] for tally in made)
        assert ratio == pytest.approx(forecast / actual)


def result(verdict, gain):
    return HorizonResult(
        horizon="1h", baseline_deviance=1, network_deviance=1, baseline_log_score=0.5, network_log_score=0.5 - gain,
        difference=-gain, difference_low=-gain, difference_high=-gain, forecast_over_actual=1, baseline_over_actual=1,
        coverage_90=0.9, hit_rate=0.3, verdict=verdict,
    )  # fmt: skip


def test_one_horizon_of_another_forecast_is_enough_for_a_network_that_adds_something():
    no, some, lost = result("tie", 0.0), result("tie", 1e-9), result("worse", -0.1)
    said = [ADDS_NOTHING in remarks(rows) for rows in ([no, no], [no, some], [lost, no])]
    assert said == [True, False, False]


def test_a_verdict_that_is_not_known_says_what_it_lacks_and_how_much_is_needed():
    """A file of so many days has them: the last 15 % of 200 days are ten blocks of three."""
    (short,) = remarks([result("too short", 0.5), result("too short", 0.5)])
    assert "fewer than 10 blocks of 3 days" in short
    days = int(short.rpartition("at least ")[2].split()[0])
    blocks = Blocks.of(0, days * DAY_S)
    assert (blocks.end_s - blocks.test_s) / (3 * DAY_S) == LEAST_BLOCKS
    (few,) = remarks([result("too few", 0.5)])
    assert few.startswith("too few: fewer than 100 incidents")


def test_what_was_reported_last_stays_to_be_read_in_a_file_and_refused_work_shows_no_bars():
    for transient in (False, True):
        console = Console(file=StringIO(), width=100)
        with progress_bars(["network"], console, transient=transient) as report:
            report("network: validation 0.9812 of the baseline's", 1.0)
        assert ("0.9812" in console.file.getvalue()) is not transient
    console = Console(file=StringIO(), width=100)
    with suppress(ValueError), progress_bars(["network"], console):
        raise ValueError
    assert console.file.getvalue() == ""


@pytest.mark.parametrize("is_terminal", [False, True])
def test_in_a_file_hours_of_work_add_a_line_a_minute_and_on_a_terminal_the_bars_are_enough(is_terminal):
    console, seconds = Console(file=StringIO(), width=100, force_terminal=is_terminal), iter([0, 59, 60, 61, 119, 120])
    with progress_bars(["replay", "network"], console, transient=True, clock=lambda: next(seconds)) as report:
        for number, name in enumerate(["replay", "replay", "replay", "network", "network", "network"]):
            report(f"{name}: [{number}]", number / 10)
    told = [line for line in console.file.getvalue().splitlines() if "%" in line]
    assert told == ([] if is_terminal else ["replay: [2], 20%", "network: [5], 50%"])


def examples(seed, *, cells=6000):
    """Baselines that differ by cell a hundredfold; where the first feature is positive, half as many again come."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(cells, 2, 4)).astype(np.float32)
    values[:, :, -1] = random.uniform(np.log(0.02), np.log(2), (cells, 2))
    mean = np.exp(values[:, :, -1]) * np.where(values[:, :, 0] > 0, 1.5, 1.0)
    counts = random.poisson(mean).astype(np.float32)
    return Examples(values=torch.from_numpy(values), counts=torch.from_numpy(counts[:, :, None])), mean


def test_it_finds_the_factor_beside_the_baseline_with_every_seed():
    train, _ = examples(0)
    later, mean = examples(1)
    fitted = Boosting().fit(train, later, seeds=[0, 1])
    counts = later.counts[:, :, 0].double().numpy()
    usual = np.exp(later.values[:, :, -1].numpy())
    for boosting in fitted:
        assert boosting.chosen["beside_baseline"] == 1.0
        forecast = boosting.predict(later.values.numpy())
        assert forecast.shape == mean.shape
        gained = poisson_loss(usual, counts) - poisson_loss(forecast, counts)
        assert gained > 0.85 * (poisson_loss(usual, counts) - poisson_loss(mean, counts))
        assert forecast.sum() / mean.sum() == pytest.approx(1, abs=0.03)
