"""What the judge tells beside its judgements: when triggers were asked, who decided, what posts gain."""

import pytest
from msgspec.structs import replace

from lifecycle.gate.asked import asked_path, keep_asked
from schemas.audit.log import record
from schemas.left_behind.posts_measured import keep_posts_measured
from tests.harness.grafana_world import POSTS
from tests.harness.judged import CHALLENGER, CHAMPION
from tests.harness.points import stored_points
from tests.unit.lifecycle.trials.conftest import NOW_S, SPEC, TICK_S


def test_what_became_of_an_ask_is_told_unless_it_cannot_be_read(world, caplog):
    path = asked_path(world.judge.artifacts, SPEC.region)
    path.parent.mkdir(parents=True)
    keep_asked(world.judge.artifacts, SPEC.region, "trial started", "it is old", now_s=NOW_S - 7200)
    keep_asked(world.judge.artifacts, SPEC.region, "failed", "a day is missing", now_s=NOW_S - 60)
    (fields,) = (fields for (key, _), fields in stored_points([world.points()]).items() if key.startswith("retrain,"))
    assert fields == {
        "made_ago_s": "7200.0",
        "outcome": '"failed"',
        "because": '"a day is missing"',
    }
    path.write_bytes(b"{")
    assert world.points().startswith(b"shadow,")
    assert "retrain.json cannot be used" in caplog.text


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([("model_promoted", {"role": "champion", "because": "better"})], "made champion by eve on "),
        ([("model_promoted", {"role": "challenger"})], None),
        ([("model_promoted", {"role": "champion", "region": "elsewhere"})], None),
        ([("model_promoted", {"role": "champion", "version": CHALLENGER})], None),
        (
            [("model_promoted", {"role": "champion"}), ("model_rolled_back", {"because": "the other was worse"})],
            "taken back by eve on ",
        ),
        ([("model_rolled_back", {}), ("model_retired", {})], "taken back by eve on "),
    ],
)
def test_the_newest_record_of_the_audit_log_says_why_a_version_scores(world, tmp_path, events, said):
    audit = tmp_path / "audit.jsonl"
    usual = {"region": SPEC.region, "version": CHAMPION, "by": "eve", "because": "it was time"}
    for number, (event, details) in enumerate(events):
        record(audit, event, usual | details, at_s=TICK_S + 60 * number)
    world.judge.audit = audit
    decided = [fields for (key, _), fields in stored_points([world.points()]).items() if key.startswith("decided,")]
    if said is None:
        assert decided == []
        return
    (fields,) = decided
    assert fields["champion"] == f'"{CHAMPION}"'
    because = ({**usual, **details}["because"] for event, details in reversed(events) if event != "model_retired")
    assert fields["says"].startswith(f'"{said}')
    assert fields["says"].endswith(f': {next(because)}"')


@pytest.mark.parametrize("is_there", [False, True])
def test_a_log_that_is_not_there_or_cannot_be_read_ends_no_judgement(world, tmp_path, caplog, is_there):
    world.judge.audit = tmp_path if is_there else tmp_path / "none.jsonl"
    points = world.points()
    assert b"shadow," in points
    assert b"gate," in points
    assert b"decided," not in points
    assert ("cannot be read" in caplog.text) == is_there


@pytest.mark.parametrize(
    ("answered", "version", "said"),
    [
        (("fire",), CHAMPION, ["of the version that scores"]),
        (("fire",), CHALLENGER, [f"of version {CHAMPION}, not of that which scores: measure again"]),
        ((), CHAMPION, []),
    ],
)
def test_what_posts_gain_says_of_which_version_it_is_and_nothing_where_no_units_answer(world, answered, version, said):
    (world.judge.artifacts / SPEC.region).mkdir(parents=True)
    keep_posts_measured(world.judge.artifacts, SPEC.region, replace(POSTS, version=CHAMPION))
    points = stored_points([world.judge._posts(replace(SPEC, answered_by=answered), version, NOW_S)])
    assert len(points) == len(POSTS.settings) * len(said)
    for fields, row in zip(points.values(), POSTS.settings, strict=False):
        assert float(fields["gain"]) == row.gain
        assert fields["says"] == f'"{row.says}"'
        assert fields["measured"] == f'"24 Nov 2025, {said[0]}"'


def test_a_file_of_posts_that_cannot_be_read_ends_no_judgement(world, caplog):
    (world.judge.artifacts / SPEC.region).mkdir(parents=True)
    (world.judge.artifacts / SPEC.region / "posts.json").write_text("{")
    assert world.judge._posts(replace(SPEC, answered_by=("fire",)), CHAMPION, NOW_S) == b""
    assert "posts.json cannot be used" in caplog.text
