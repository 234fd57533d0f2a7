"""A challenger that serves the groups of a city less evenly than the champion is not tried, and no group is named."""

import numpy as np
import pytest

from lifecycle.gate.evenness import Evenness
from lifecycle.gate.held_out import compare_held_out
from lifecycle.gate.plan import GatePlan
from models.artifact.artifact import read_artifact
from models.evaluation.disparity.groups import Groups
from models.training.replay import IncidentHistory
from schemas.errors import SettingsError
from schemas.spec import DAY_S
from tests.harness.toy import CUTOFF_S, toy_artifact, toy_grid, toy_spec, toy_table

GRID = toy_grid(12, 12)
GROUPS = Groups.of({cell: ("upper", "lower", "few")[min(cell // 70, 2)] for cell in range(GRID.cells)}, GRID)
TRUTH = np.random.default_rng(3).gamma(0.5, 1.0, (GRID.cells, 2)) * 0.05


def asked(challenger, champion, *, days=28, seed=0):
    """What is said of two forecasts (cells, categories) that stay the same for all hours of so many days."""
    evenness, random = Evenness(groups=GROUPS), np.random.default_rng(seed)
    for hour in range(24 * days):
        evenness.add(hour * 3600, random.poisson(TRUTH), challenger, champion)
    return evenness


def test_of_equals_none_is_refused_and_a_group_that_gets_less_is_found():
    upper = (GROUPS.of_cell == GROUPS.names.index("upper"))[:, None]
    random, refused = np.random.default_rng(5), {1.0: 0, 1.3: 0}
    for seed in range(20):
        noisy = [TRUTH * np.exp(random.normal(0, 0.1, TRUTH.shape)) for _ in range(2)]
        for bias in refused:
            faults, remarks = asked(noisy[0] / np.where(upper, bias, 1.0), noisy[1], seed=seed).judged()
            refused[bias] += len(faults)
            assert remarks == ()
            assert not any(name in " ".join(faults) for name in GROUPS.names)
    assert refused[1.0] <= 3
    assert refused[1.3] >= 17


def test_the_figures_are_those_of_a_plain_count_over_the_groups_that_are_large_enough():
    half = TRUTH.copy()
    half[:70] /= 2
    half[140:] /= 9  # of the group that is too small
    evenness = asked(half, TRUTH)
    came, expected, of_rival = np.sum(evenness.sums, axis=0)
    large = [GROUPS.names.index(name) for name in ("upper", "lower")]  # the third has four cells
    model, rival = (
        max(came[n] / mean[n] for n in large) / min(came[n] / mean[n] for n in large) for mean in (expected, of_rival)
    )
    assert f"(by a factor of {model:.3g} in place of {rival:.3g}, +" in evenness.judged()[0][0]


@pytest.mark.parametrize("days", [3, 26])  # no group has a hundred incidents; nine blocks of days
def test_what_is_too_short_is_said_to_be_not_compared(days):
    assert asked(TRUTH / 3, TRUTH, days=days).judged() == (
        (),
        ("the groups of the plan have too few incidents, cells or days to be compared",),
    )


def test_the_gate_asks_where_its_plan_names_groups(tmp_path):
    spec = toy_spec()
    champion, challenger = (
        read_artifact(toy_artifact(tmp_path / name, spec, cutoff_s=CUTOFF_S + seconds))
        for name, seconds in (("champion", 0), ("challenger", 60))
    )
    past = IncidentHistory.of(toy_table(np.arange(CUTOFF_S, CUTOFF_S + 6 * DAY_S, 7200)), spec, CUTOFF_S + 5 * DAY_S)
    file = tmp_path / "groups.csv"
    file.write_text("cell,group\n" + "\n".join(f"{cell},{'ab'[n % 2]}" for n, cell in enumerate(spec.grid.cell_ids())))
    shown = compare_held_out(champion, challenger, past, GatePlan(least_days=3, groups=str(file)))
    assert shown.remarks == ("the groups of the plan have too few incidents, cells or days to be compared",)
    with pytest.raises(SettingsError, match="is no file"):
        compare_held_out(champion, challenger, past, GatePlan(least_days=3, groups=str(tmp_path / "none.csv")))
