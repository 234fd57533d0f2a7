"""A damaged checkpoint is refused with its remedy, or what was lost is made again: never counted wrong.

A commit that is lost, and an offset file that is cut, are met in every run: test_scenarios.py, test_pipeline.py.
"""

import shutil
import signal

import pytest

from tests.faults.sent import events

pytestmark = pytest.mark.nightly
FIRST, MORE = 30, 10


@pytest.fixture(scope="module")
def used(new_topic, new_scorer, new_region):
    """A job that has counted FIRST events and was stopped; MORE wait in its topic."""
    topic, region = new_topic("damaged"), new_region("riverton")
    scorer = new_scorer("used", topic, RISK_TRIGGER_S="0.2")
    region.publish(scorer.artifacts)
    scorer.start()
    for first in range(0, FIRST, 10):
        topic.send(events(region, range(first, first + 10), partitions=1))
        scorer.wait_until(lambda so_far=first + 10: scorer.consumed() == so_far)
    assert scorer.end(signal.SIGTERM) == 0
    topic.send(events(region, range(FIRST, FIRST + MORE), partitions=1))
    return scorer


def numbered(folder):
    """The newest numbered file."""
    return max((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))


def of_state(spark, pattern):
    """The state's files, the oldest first: `N.changelog`, `N.zip` for a snapshot, and the tables that it refers to."""
    found = sorted((spark / "state").rglob(pattern), key=lambda path: (len(path.name), path.name))
    assert found, f"Spark keeps no {pattern}: there is nothing to damage"
    return found


def flip(*paths):
    """One bit in the middle of each."""
    for path in paths:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def forget_changes_before_the_snapshot(spark):
    """As Spark does after some batches: from then on only the snapshot knows what they led to."""
    newest = int(of_state(spark, "*.zip")[-1].stem)
    for path in of_state(spark, "*.changelog"):
        if int(path.stem) <= newest:
            path.unlink()


def flip_state(pattern, which=slice(None), *, alone=False):
    """A bit of each of these files; alone: without the changes that led to the snapshot."""

    def damage(spark):
        if alone:
            forget_changes_before_the_snapshot(spark)
        flip(*of_state(spark, pattern)[which])

    return damage


DAMAGES = {
    "nothing": lambda spark: None,
    "delete_offsets": lambda spark: numbered(spark / "offsets").unlink(),
    "delete_metadata": lambda spark: (spark / "metadata").unlink(),
    "delete_state": lambda spark: shutil.rmtree(spark / "state"),
    "flip_newest_changes": flip_state("*.changelog", slice(-1, None)),
    "flip_snapshots": flip_state("*.zip"),
    "flip_tables": flip_state("*.sst"),
    "flip_the_only_snapshot": flip_state("*.zip", alone=True),
    "flip_the_only_tables": flip_state("*.sst", alone=True),
}
REFUSED = ("delete_offsets", "delete_metadata", "delete_state", "flip_newest_changes")
REFUSED += ("flip_the_only_snapshot", "flip_the_only_tables")


@pytest.mark.fault("F31")
@pytest.mark.parametrize("damage", REFUSED)
def test_a_damaged_checkpoint_is_named_and_nothing_is_written(damage, used, new_scorer):
    scorer = copy_of(used, new_scorer, damage)
    stored = scorer.points()
    scorer.start()
    scorer.assert_ended(8, "checkpoint --reset")
    assert scorer.points() == stored


def scores_after(damage, used, new_scorer):
    """(scorer that has counted all, its scores)"""
    scorer = copy_of(used, new_scorer, damage)
    scorer.start()
    scorer.wait_until(lambda: scorer.consumed() == FIRST + MORE)
    assert scorer.end(signal.SIGTERM) == 0
    assert scorer.totals()["riverton"]["counted"] == FIRST + MORE
    return scorer, {key: fields for key, fields in scorer.points().items() if key[0].startswith("risk")}


@pytest.fixture(scope="module")
def undamaged(used, new_scorer):
    scores = scores_after("nothing", used, new_scorer)[1]
    assert len(scores) >= 4 * 36 * 2 * 3  # four sendings, each in one batch or more
    return scores


@pytest.mark.fault("F31")
@pytest.mark.parametrize("damage", ["flip_snapshots", "flip_tables"])
def test_a_damaged_snapshot_is_made_up_for_by_the_changes_since_the_beginning(damage, used, undamaged, new_scorer):
    scorer, scores = scores_after(damage, used, new_scorer)
    assert scores == undamaged
    spark_said = (scorer.checkpoint / "spark.log").read_text(encoding="utf-8", errors="replace")
    assert "Failed to load snapshot" in spark_said, "Spark has not met the damage"


def copy_of(used, new_scorer, damage):
    scorer = new_scorer(damage, used.topic)
    for name in ("artifacts", "checkpoint", "scores.lp"):
        source, target = used.folder / name, scorer.folder / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
    roster = scorer.checkpoint / "roster.json"
    moved = roster.read_text(encoding="utf-8").replace(str(used.folder), str(scorer.folder))
    roster.write_text(moved, encoding="utf-8")
    DAMAGES[damage](scorer.checkpoint / "spark")
    return scorer
