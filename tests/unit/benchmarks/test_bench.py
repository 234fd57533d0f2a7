"""Rates and ratios, what is said of old and new code, the tree of a commit, and the beds of following."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import bench
from benchmarks.bench import FIGURES, of_rounds, program_of, tree_of, verdict
from benchmarks.cities import BEDS, START_S, City, World, incidents_of
from benchmarks.load import latencies
from benchmarks.other_systems import Rate, compared, rate_of
from models.features import feature_names
from schemas.spec import HOUR_S, Spec


def test_a_steady_rate_leaves_the_warm_up_out_and_a_total_does_not():
    #  read from t=100; 1000 events done at 110 (slow start), 3000 at 112
    rate = rate_of([(1000, 110.0), (2000, 111.0), (3000, 112.0)], started_s=100.0, warm_up_events=1000)
    assert (rate.steady_eps, rate.total_eps, rate.warm_up_events) == (1000.0, 250.0, 1000)
    with pytest.raises(ValueError, match="warm-up"):
        rate_of([(1000, 110.0)], started_s=100.0, warm_up_events=1000)


@given(st.data())
def test_every_event_is_timed_by_the_batch_that_took_it(data):
    """Against a simulation that knows which batch took which event, of two partitions."""
    batches = data.draw(st.lists(st.lists(st.sampled_from([0, 1]), max_size=6), min_size=1, max_size=6))
    sent, expected, end_offsets, end = [], [], [], {0: 0, 1: 0}
    for number, partitions in enumerate(batches):
        for partition in partitions:
            intended_s = number + data.draw(st.floats(-5, 0))
            sent.append((partition, end[partition], intended_s))
            expected.append(10.0 * number - intended_s)
            end[partition] += 1
        end_offsets.append(dict(end))
    order = data.draw(st.permutations(range(len(sent))))
    rows = np.array([sent[i] for i in order], np.float64).reshape(-1, 3)
    acknowledged_s = 10.0 * np.arange(len(batches))
    np.testing.assert_allclose(latencies(rows, acknowledged_s, end_offsets), [expected[i] for i in order])


def rate(eps):
    return Rate(steady_eps=eps, total_eps=eps, events=1, warm_up_events=0, seconds=1.0)


def test_a_ratio_is_the_median_of_the_rounds_each_compared_with_its_own_pair_and_a_failure_is_told():
    theirs = [rate(50.0), rate(100.0), rate(30.0)]
    figures = compared("loop", [rate(100.0), rate(50.0), rate(90.0)], theirs)
    assert (figures["ratio_to_loop"], figures["ratio_to_loop_spread"]) == (2.0, [0.5, 3.0])
    assert (figures["loop_eps"], figures["ratio_to_loop_reason"]) == (50, None)
    figures = compared("loop", [rate(4.0), rate(9.0)], ["too slow", rate(3.0)])
    assert (figures["ratio_to_loop"], figures["ratio_to_loop_reason"]) == (3.0, "too slow")
    figures = compared("loop", [rate(4.0)], ["not to be had"])
    assert (figures["ratio_to_loop"], figures["loop_eps"], figures["ratio_to_loop_spread"]) == (None, None, None)


def run(**changes):
    return dict.fromkeys(FIGURES, 100.0) | changes


def test_a_ratio_is_the_median_of_those_of_neighbouring_runs():
    old = [run(p99_ms=100.0), run(p99_ms=200.0), run(p99_ms=50.0)]
    new = [run(p99_ms=110.0), run(p99_ms=240.0), run(p99_ms=100.0)]
    figure = of_rounds(old, new)["p99_ms"]
    assert figure == {"old": 100.0, "new": 110.0, "ratio": 1.2, "least": 1.1, "most": 2.0, "rounds": 3}
    assert verdict("p99_ms", figure) == "slower"
    assert verdict("throughput_eps", figure) == "faster"


def test_rounds_that_are_few_or_disagree_tell_nothing():
    slower, faster = run(start_s=120.0), run(start_s=90.0)
    for new, words in (
        ([slower] * 3, "slower"),
        ([faster] * 3, "faster"),
        ([faster, slower, slower], "not told apart"),
        ([slower] * 2, "too few rounds"),
    ):
        assert verdict("start_s", of_rounds([run()] * len(new), new)["start_s"]) == words


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Three commits: without a measurement, with one in a file of its own, and with one as today."""
    root = tmp_path / "repository"
    (root / "benchmarks").mkdir(parents=True)
    monkeypatch.setattr(bench, "ROOT", root)
    git = bench.git
    git("init", "-q", "-b", "main")
    for name, value in (("user.name", "a"), ("user.email", "a@example.org"), ("commit.gpgsign", "false")):
        git("config", name, value)
    commits = []
    for number, name in enumerate(("older", "once", "bench")):
        for file in (root / "benchmarks").iterdir():
            file.unlink()
        (root / "product.txt").write_text(f"{number}")
        (root / "benchmarks" / f"{name}.py").write_text("def measure_once(): ..." if number else "")
        git("add", "-A")
        git("commit", "-q", "-m", f"{number}")
        commits.append(git("rev-parse", "HEAD"))
    return commits


def test_a_tree_is_that_of_its_commit_and_is_gone_afterwards(repository, tmp_path):
    for number, program in ((1, "benchmarks.once"), (2, "benchmarks.bench")):
        with tree_of(repository[number], tmp_path / "tree") as tree:
            assert (tree / "product.txt").read_text() == f"{number}"
            assert program_of(tree) == program
    with pytest.raises(bench.ChildError, match=r"benchmarks/once\.py"), tree_of(repository[0], tmp_path / "older"):
        pass
    with pytest.raises(bench.ChildError, match="0000000"), tree_of("0000000", tmp_path / "none"):
        pass
    assert not tree.exists()
    assert not (tmp_path / "older").exists()
    assert len(bench.git("worktree", "list").splitlines()) == 1


WORLD = World(side=3, per_day=200.0, days=30, seed=1)
HOURS = 30 * 24
CHANGE = 14 * 24


@pytest.fixture(scope="module")
def city():
    table = incidents_of(WORLD)
    spec = Spec(region="town", timezone="UTC", grid=WORLD.grid, categories=table.categories, features=feature_names())
    cell, _ = spec.grid.locate(table.lat_deg, table.lon_deg)
    past = SimpleNamespace(spec=spec, incidents=SimpleNamespace(cell=cell))
    return City(table=table, start_s=START_S, trained=SimpleNamespace(past=past), seed=0)


def counts_of(city, table):
    """(hours, cells, categories)"""
    cell, _ = city.spec.grid.locate(table.lat_deg, table.lon_deg)
    counts = np.zeros((HOURS, city.spec.grid.cells, 2))
    hour = (table.occurred_s - START_S) // HOUR_S
    inside = hour < HOURS
    np.add.at(counts, (hour[inside], cell[inside], table.category[inside]), 1)
    return counts


@pytest.mark.parametrize("name", BEDS)
def test_a_forecast_that_knows_the_change_expects_what_comes(city, name):
    before = counts_of(city, city.table)
    changed = BEDS[name].incidents(city, np.random.default_rng(0))
    after = counts_of(city, changed)
    assert (np.diff(changed.occurred_s) >= 0).all()
    assert len(np.unique(changed.row)) == len(changed)
    assert (after[:CHANGE] == before[:CHANGE]).all()
    expected = BEDS[name].oracle(city, before)[CHANGE:]
    if name == "silent":
        assert after[CHANGE + 12 : CHANGE + 18].sum() == after[CHANGE + 126 : CHANGE + 132].sum() == 0
    elif name == "burst":
        assert (after[CHANGE + 12 : CHANGE + 24] == 4 * before[CHANGE + 12 : CHANGE + 24]).all()
    elif name in ("level x0.5", "both"):
        np.testing.assert_allclose(after[CHANGE:].sum(axis=(0, 1)), expected.sum(axis=(0, 1)), rtol=0.1)
    else:
        assert (after[CHANGE:] == expected).all()
