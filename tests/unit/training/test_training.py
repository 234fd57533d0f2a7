"""Training end to end on made-up regions: repeatable, silent about noise, and able to find what is there."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.artifact import read_artifact
from models.baseline import OlderDays
from models.features import FeatureEngine
from models.files.data_report import RowCount
from models.training.card import card_text
from models.training.fit_baseline import Blocks, fit_constants
from models.training.fit_network import KeptState, fit_network
from models.training.replay import IncidentHistory, Replay
from models.training.train import TrainingOptions, train
from models.training.train_region import spec_for
from models.training.training_table import NO_GAIN, remarks
from schemas.errors import DataError
from tests.harness.quick_training import one_penalty
from tests.harness.toy import publish_artifact, toy_table

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


def trained(table, fit=fit_network, days=DAYS, report=lambda what, share: None, **changes):
    torch.set_num_threads(1)
    cutoff = START + days * DAY
    spec = spec_for(table, region="made", cell_m=1000, cutoff_s=cutoff)
    options = TrainingOptions(**{"step_s": DAY, "epochs": 3, "seed": 0} | changes)
    return train(IncidentHistory.of(table, spec, cutoff), options, report=report, fit=fit)


def published(made, folder):
    return publish_artifact(
        folder,
        spec=made.past.spec,
        constants=made.constants,
        network=made.network,
        history=made.history,
        card=card_text(made, layout="made", file_rows=[]),
    )


@pytest.fixture(scope="module")
def noise():
    return trained(region(np.ones(DAYS)))


@pytest.fixture(scope="module")
def swinging():
    """The whole region is at half or at one and a half of its mean for a week at a time."""
    level = np.where(np.random.default_rng(3).random(DAYS // 7 + 1) < 0.5, 0.5, 1.5)
    return trained(region(np.repeat(level, 7)[:DAYS]))


def test_the_choice_of_the_baseline_and_the_replay_that_judges_are_told_as_they_go_on():
    """Either stood still for minutes on a large file."""
    told = []
    with one_penalty():
        trained(region(np.ones(_FEW_DAYS)), days=_FEW_DAYS, report=lambda *of: told.append(of), epochs=1)
    shares = {of: [share for what, share in told if what == of] for of in ("baseline", "replay")}
    assert shares["baseline"] == [0, 0.2, 0.4, 0.6, 0.8, 1]
    before_the_end = [share for share in shares["replay"] if 0.87 < share < 1]  # judged is the last 15 %
    assert len(set(before_the_end)) > 4


def test_on_pure_noise_nothing_is_claimed(noise):
    for horizon, row in enumerate(noise.rows):
        assert row.verdict == "tie"
        incidents = sum(tally.actual[:, horizon].sum() for tally in noise.tallies)
        chance = 4 / np.sqrt(min(incidents, 200 * 31))  # of the total; horizons that overlap count one many times
        assert row.baseline_over_actual == pytest.approx(1, abs=chance)
        assert row.forecast_over_actual == pytest.approx(1, abs=chance)


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
    cutoff = START + DAYS * DAY
    return IncidentHistory.of(table, spec_for(table, region="made", cell_m=1000, cutoff_s=cutoff), cutoff)


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


def test_categories_of_one_pattern_share_their_shrinkage(noise):
    first, second = noise.constants.shrink_days.tolist()
    assert first == second


def test_the_card_says_how_much_each_category_borrows(noise):
    assert "mixed into a cell's own: " in card_text(noise, layout="made", file_rows=[])
    each = replace(noise, constants=replace(noise.constants, shrink_days=np.array([2.0, 640.0])))
    first, second = noise.past.spec.categories
    assert f"cell's own: {first} 2, {second} 640." in card_text(each, layout="made", file_rows=[])


def test_the_card_says_what_is_of_all_days(noise):
    counts = np.ones((noise.past.spec.grid.cells, 2))
    older = OlderDays(counts=counts, share=np.array(0.75), end_day=np.array(noise.constants.first_day))
    mixed = replace(noise, constants=replace(noise.constants, older=older))
    said = [" 75% of a cell's part of" in card_text(made, layout="made", file_rows=[]) for made in (noise, mixed)]
    assert said == [False, True]


def test_the_baseline_follows_a_level_that_changed_for_good():
    """Two thirds more calls from the middle of the validation block on: the slow memory alone forecasts too few."""
    table = region(np.where(np.arange(DAYS) < 0.78 * DAYS, 1.0, 1.67))
    cutoff = START + DAYS * DAY
    past = IncidentHistory.of(table, spec_for(table, region="made", cell_m=1000, cutoff_s=cutoff), cutoff)
    blocks = Blocks.of(past.first_s, cutoff)
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


def test_where_nothing_changes_the_level_is_followed_all_the_same():
    table, end = region(np.ones(DAYS)), START + DAYS * DAY
    past = IncidentHistory.of(table, spec_for(table, region="made", cell_m=1000, cutoff_s=end), end)
    constants = fit_constants(past, Blocks.of(past.first_s, end))
    assert constants.half_life_days > 60  # of the memory: validation likes the level to stay as well
    assert constants.level_half_life_days == 60


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
    card = card_text(swinging, layout="made", file_rows=file_rows)
    assert "| 3 | bad time | left out |" in card
    assert "noon" not in card  # nothing of a file's rows goes into an artifact
    for row in swinging.rows:
        assert row.difference_text() in card
        assert f"{row.network_deviance:.5f}" in card
    assert "never people" in card
    assert read_artifact(published(swinging, tmp_path)).network_fault is None


def test_a_network_that_gains_nothing_is_said_on_the_card_and_at_the_terminal(noise, swinging):
    said = [NO_GAIN in card_text(made, layout="made", file_rows=[]) for made in (noise, swinging)]
    assert said == [NO_GAIN in list(remarks(made.rows)) for made in (noise, swinging)] == [True, False]


@pytest.fixture(scope="module")
def alternating():
    """60 days that the network follows, of which every second pair has three times as many incidents as the others."""
    return region(np.where(np.arange(_FEW_DAYS) % 4 < 2, 0.5, 1.5))


def noted(table, **changes):
    """What training gives, and (data, fitted network) of its fits: the one that is judged, and the one that serves."""
    fits = []

    def fit(data, plan, after_epoch):
        fits.append((data, fit_network(data, plan, after_epoch)))
        return fits[-1][1]

    with one_penalty():
        return trained(table, fit=fit, days=_FEW_DAYS, step_s=DAY // 2, **changes), fits


@pytest.fixture(scope="module")
def followed(alternating):
    return noted(alternating)


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
    (first, fits), (again, fits_again) = followed, noted(other)
    (data, fitted), (data_again, fitted_again) = fits[0], fits_again[0]
    for part in ("train", "validation"):  # the baseline's constants are in their values
        assert torch.equal(getattr(data, part).values, getattr(data_again, part).values)
    assert data.dispersion == data_again.dispersion
    assert same_weights(fitted.network, fitted_again.network)
    assert fitted.kept == fitted_again.kept != KeptState()
    assert [row.network_log_score for row in first.rows] != [row.network_log_score for row in again.rows]


def test_too_few_incidents_are_refused_with_the_reason():
    table = region(np.ones(DAYS))
    with pytest.raises(DataError, match="at least 500 over 21 days"):
        spec_for(table, region="made", cell_m=1000, cutoff_s=START + 5 * DAY)
