"""A damaged checkpoint is refused with its remedy, or the batch is repeated: never counted wrong, never quiet."""

import shutil
import signal

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.long]
START = 1_700_000_000
FIRST, MORE = 30, 10


def events(region, numbers):
    return [(0, region.event(n, cell=n % 36, at_s=START + 10 * n), 1000 * (START + 10 * n)) for n in numbers]


@pytest.fixture(scope="module")
def used(new_topic, new_scorer, new_region):
    """A job that has counted FIRST events and was stopped; MORE wait in its topic."""
    topic, region = new_topic("damaged"), new_region("riverton")
    scorer = new_scorer("used", topic, RISK_TRIGGER_S="0.2")
    region.publish(scorer.artifacts)
    scorer.start()
    for first in range(0, FIRST, 10):
        topic.send(events(region, range(first, first + 10)))
        scorer.wait_until(lambda so_far=first + 10: scorer.consumed() == so_far)
    assert scorer.end(signal.SIGTERM) == 0
    topic.send(events(region, range(FIRST, FIRST + MORE)))
    return scorer


def numbered(folder):
    """The newest numbered file."""
    return max((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))


def cut_offsets(spark):
    numbered(spark / "offsets").write_bytes(b"")


def delete_offsets(spark):
    numbered(spark / "offsets").unlink()


def delete_commit(spark):
    numbered(spark / "commits").unlink()


def delete_metadata(spark):
    (spark / "metadata").unlink()


def delete_state(spark):
    shutil.rmtree(spark / "state")


def flip_state(spark):
    for path in spark.rglob("*.changelog"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    for path in spark.rglob("*.zip"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_offsets, delete_offsets, delete_metadata, delete_state, flip_state])
def test_a_damaged_checkpoint_is_named_and_nothing_is_written(damage, used, new_scorer):
    scorer = copy_of(used, new_scorer, damage)
    stored = scorer.points()
    scorer.start()
    code = scorer.end()
    (error,) = [line for line in scorer.output.splitlines() if line.startswith("error:")] or [scorer.output]
    assert code == 8, error
    assert "checkpoint reset" in error
    assert "Traceback" not in scorer.output
    assert scorer.points() == stored


def nothing(spark):
    pass


def test_a_batch_whose_commit_was_lost_is_repeated(used, new_scorer):
    scores = []
    for damage in (delete_commit, nothing):
        scorer = copy_of(used, new_scorer, damage)
        scorer.start()
        scorer.wait_until(lambda scorer=scorer: scorer.consumed() == FIRST + MORE)
        assert scorer.end(signal.SIGTERM) == 0
        assert scorer.totals()["riverton"]["counted"] == FIRST + MORE
        scores.append({key: fields for key, fields in scorer.points().items() if key[0].startswith("risk")})
    assert scores[0] == scores[1]
    assert len(scores[0]) >= 4 * 36 * 2 * 3  # four sendings, each in one batch or more


def copy_of(used, new_scorer, damage):
    scorer = new_scorer(damage.__name__, used.topic)
    for name in ("artifacts", "checkpoint", "scores.lp"):
        source, target = used.folder / name, scorer.folder / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
    roster = scorer.checkpoint / "roster.json"
    moved = roster.read_text(encoding="utf-8").replace(str(used.folder), str(scorer.folder))
    roster.write_text(moved, encoding="utf-8")
    damage(scorer.checkpoint / "spark")
    return scorer
