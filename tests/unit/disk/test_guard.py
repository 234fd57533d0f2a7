"""A checkpoint that does not fit the settings, the topic or this version is refused, and nothing of it is touched."""

import json
import shutil

import pyspark
import pytest

from schemas.audit.verify import records
from schemas.errors import CheckpointError
from streaming.disk.guard import STATE_LAYOUT, read_guard
from streaming.topics.kafka import Topic
from tests.harness.checkpoint import begin_at, commit, tree, verify


def test_the_same_settings_and_topic_are_taken(used):
    verify(used)
    verify(used.with_options(trigger_s=3, sink="influxdb", dead_letter_topic="other"))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("RISK_TOPIC was incidents.v1 and is other", {"topic": "other"}),
        ("RISK_CLOCK was wall and is event", {"clock": "event"}),
        ("RISK_STARTING was earliest and is latest", {"starting": "latest"}),
        ("RISK_SHUFFLE_PARTITIONS was 2 and is 3", {"shuffle_partitions": 3}),
    ],
)
def test_a_changed_setting_that_spark_would_ignore_is_refused_once_there_are_counts(settings, name, changes):
    verify(settings)
    verify(settings.with_options(**changes))  # nothing is counted yet
    verify(settings)
    commit(settings.checkpoint, 0, {"0": 1})
    with pytest.raises(
        CheckpointError, match=f"{name}.*restore the former values, or begin anew with `checkpoint --reset`"
    ):
        verify(settings.with_options(**changes))
    verify(settings)


def rewrite_guard(checkpoint, **fields):
    path = checkpoint / "guard.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | fields), encoding="utf-8")


@pytest.mark.parametrize("layout", [STATE_LAYOUT - 1, STATE_LAYOUT + 1])
def test_counts_in_another_layout_are_refused_before_anything_is_touched(used, layout):
    rewrite_guard(used.checkpoint, state_layout=layout)
    before = tree(used.checkpoint)
    refusal = f"stored in layout {layout}, and this version reads {STATE_LAYOUT}.*`checkpoint --reset`"
    with pytest.raises(CheckpointError, match=refusal):
        verify(used)
    assert tree(used.checkpoint) == before


def test_another_layout_without_counts_is_replaced(settings):
    verify(settings)
    rewrite_guard(settings.checkpoint, state_layout=STATE_LAYOUT - 1)
    verify(settings)
    assert read_guard(settings.checkpoint).state_layout == STATE_LAYOUT


def test_another_spark_is_said_and_recorded_once(used, caplog):
    now = pyspark.__version__
    major, minor, _ = now.split(".", 2)
    for same in (now, f"{major}.{minor}.99"):
        rewrite_guard(used.checkpoint, spark=same)
        verify(used)
    assert not used.audit.exists()
    rewrite_guard(used.checkpoint, spark=f"{major}.{int(minor) + 1}.0")
    for _ in range(2):
        verify(used)
    (line,) = records(used.audit.read_bytes())
    assert (line.event, line.details) == ("other_spark", {"was": f"{major}.{int(minor) + 1}.0", "now": now})
    assert f"Spark {major}.{int(minor) + 1}.0 wrote the checkpoint, and Spark {now} reads it" in caplog.text


@pytest.mark.parametrize(
    "begun",
    [lambda folder: begin_at(folder, {"0": 0}), lambda folder: commit(folder, 0, {"0": 1}, is_done=False)],
    ids=["where it begins", "its first offsets"],
)
def test_settings_are_compared_as_soon_as_spark_has_kept(settings, begun):
    verify(settings)
    begun(settings.checkpoint)
    with pytest.raises(CheckpointError, match="RISK_SHUFFLE_PARTITIONS was 2 and is 3"):
        verify(settings.with_options(shuffle_partitions=3))


@pytest.mark.fault("F31")
@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("spark/commits", "commit of batch 9 is missing"),
        ("guard.json", r"guard\.json.* is missing"),
        ("spark/commits/9 spark/commits/10", "commit of batch 9 is missing"),
    ],
)
def test_a_checkpoint_that_lost_a_part_is_refused_before_anything_is_touched(used, lost, named):
    """Without its commits all of the state would look like that of an unfinished batch, and be removed."""
    (used.checkpoint / "spark" / "state").mkdir()
    (used.checkpoint / "spark" / "state" / "10.changelog").write_bytes(b"counts")
    for name in lost.split():
        path = used.checkpoint / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = tree(used.checkpoint)
    with pytest.raises(CheckpointError, match=f"damaged: .*{named}.*Nothing was written"):
        verify(used.with_options(clock="event"), Topic(id="77aa", first_offsets={}, end_offsets={}))
    assert tree(used.checkpoint) == before


def test_the_settings_of_the_last_run_are_kept_without_secrets(used):
    verify(used.with_options(top_k=7, influx_token="canary"))
    assert read_guard(used.checkpoint).settings["RISK_TOP_K"] == "7"
    assert b"canary" not in (used.checkpoint / "guard.json").read_bytes()


def test_a_guard_that_cannot_be_read_is_refused(used):
    (used.checkpoint / "guard.json").write_bytes(b"{")
    with pytest.raises(CheckpointError, match=r"guard\.json"):
        verify(used)
