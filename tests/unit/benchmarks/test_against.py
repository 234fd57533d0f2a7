"""What is said of old and new code, from runs whose truth is known; and the tree of a commit."""

import pytest

from benchmarks import against
from benchmarks.against import FIGURES, compared, tree_of, verdict


def run(**changes):
    return dict.fromkeys(FIGURES, 100.0) | changes


def test_a_ratio_is_the_median_of_those_of_neighbouring_runs():
    old = [run(p99_ms=100.0), run(p99_ms=200.0), run(p99_ms=50.0)]
    new = [run(p99_ms=110.0), run(p99_ms=240.0), run(p99_ms=100.0)]
    figure = compared(old, new)["p99_ms"]
    assert figure == {"old": 100.0, "new": 110.0, "ratio": 1.2, "least": 1.1, "most": 2.0}
    assert verdict("p99_ms", figure) == "slower"
    assert verdict("throughput_eps", figure) == "faster"


def test_rounds_that_disagree_tell_nothing():
    figure = compared([run(), run()], [run(start_s=90.0), run(start_s=120.0)])["start_s"]
    assert verdict("start_s", figure) == "not told apart"
    assert verdict("start_s", compared([run()], [run(start_s=90.0)])["start_s"]) == "faster"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Three commits: without a measurement, with the first one, with a newer one."""
    root = tmp_path / "repository"
    (root / "benchmarks").mkdir(parents=True)
    monkeypatch.setattr(against, "ROOT", root)
    git = against.git
    git("init", "-q", "-b", "main")
    for name, value in (("user.name", "a"), ("user.email", "a@example.org"), ("commit.gpgsign", "false")):
        git("config", name, value)
    commits = []
    for number in range(3):
        (root / "product.txt").write_text(f"{number}")
        (root / "benchmarks" / ("once.py" if number else "older.py")).write_text(f"{number}")
        git("add", "-A")
        git("commit", "-q", "-m", f"{number}")
        commits.append(git("rev-parse", "HEAD"))
    return commits


def test_a_commit_that_cannot_be_measured_gets_the_first_benchmarks_that_could(repository, tmp_path):
    for number, of_benchmarks in enumerate("112"):
        with tree_of(repository[number], tmp_path / f"tree-{number}") as tree:
            assert (tree / "product.txt").read_text() == f"{number}"
            assert (tree / "benchmarks" / "once.py").read_text() == of_benchmarks
        assert not tree.exists()
    assert len(against.git("worktree", "list").splitlines()) == 1


def test_a_commit_that_is_not_there_is_named(repository, tmp_path):
    with pytest.raises(against.ChildError, match="0000000"), tree_of("0000000", tmp_path / "none"):
        pass
