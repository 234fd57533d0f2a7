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
        assert verdict("start_s", compared([run()] * len(new), new)["start_s"]) == words


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two commits: without a measurement, and with one."""
    root = tmp_path / "repository"
    (root / "benchmarks").mkdir(parents=True)
    monkeypatch.setattr(against, "ROOT", root)
    git = against.git
    git("init", "-q", "-b", "main")
    for name, value in (("user.name", "a"), ("user.email", "a@example.org"), ("commit.gpgsign", "false")):
        git("config", name, value)
    commits = []
    for number in range(2):
        (root / "product.txt").write_text(f"{number}")
        (root / "benchmarks" / ("once.py" if number else "older.py")).write_text(f"{number}")
        git("add", "-A")
        git("commit", "-q", "-m", f"{number}")
        commits.append(git("rev-parse", "HEAD"))
    return commits


def test_a_tree_is_that_of_its_commit_and_is_gone_afterwards(repository, tmp_path):
    with tree_of(repository[1], tmp_path / "tree") as tree:
        assert (tree / "product.txt").read_text() == "1"
    with pytest.raises(against.ChildError, match=r"benchmarks/once\.py"), tree_of(repository[0], tmp_path / "older"):
        pass
    assert not tree.exists()
    assert not (tmp_path / "older").exists()
    assert len(against.git("worktree", "list").splitlines()) == 1


def test_a_commit_that_is_not_there_is_named(repository, tmp_path):
    with pytest.raises(against.ChildError, match="0000000"), tree_of("0000000", tmp_path / "none"):
        pass
