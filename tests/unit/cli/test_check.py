"""`check` says of a producer's messages what the job would do with them."""

import json
import os
from functools import partial
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

import schemas
import streaming.cli.check
from incident_risk import app
from models.artifact import read_artifact
from schemas.areas import NO_MASKS, read_masks
from schemas.errors import DataError
from streaming.cli.check import dry_run
from tests.harness.processes import imported_by
from tests.harness.toy import RIVERTON, box, iso, mask_file, toy_artifact, toy_record, toy_spec

EXAMPLES = Path(schemas.__file__).parent / "examples"
NOW_S = 1_773_477_600  # 2026-03-14T08:40:00Z, shortly after the examples' times
CALL = toy_record(region="riverton", occurred_at="2026-03-14T08:30:00Z", category="medical", lat=41.5, lon=-87.6)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """A folder with an artifact of riverton whose data end an hour before the examples."""
    folder = tmp_path_factory.mktemp("artifacts")
    toy_artifact(folder, RIVERTON, cutoff_s=NOW_S - 3600, created="20260314T000000Z")
    return folder


def foresee(artifact, *messages, region="riverton", now_s=NOW_S, masks=NO_MASKS):
    """What a job with the artifact would do with each message, of bytes or of fields."""
    texts = (message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages)
    values = [(str(number), text) for number, text in enumerate(texts)]
    return list(dry_run(values, {region: artifact}, now_s=now_s, masks=masks))


@pytest.fixture(scope="module")
def riverton(artifacts):
    [folder] = (artifacts / "riverton").iterdir()
    return read_artifact(folder)


@pytest.fixture(scope="module")
def foreseen(riverton):
    return partial(foresee, riverton)


def test_a_call_that_repeats_another_is_named(tmp_path):
    spec = msgspec.structs.replace(RIVERTON, merge="repeated_calls")
    folder = toy_artifact(tmp_path, spec, cutoff_s=NOW_S - 3600)
    again = {**CALL, "incident_id": "2026-9", "occurred_at": "2026-03-14T08:31:00Z", "lat": CALL["lat"] + 0.001}
    first, second = foresee(read_artifact(folder), CALL, again)
    assert (first.outcome, second.outcome) == ("counted", "repeated")
    assert "200 m" in second.detail


def test_a_masked_place_is_not_counted_and_said_to_be_perhaps_masked(tmp_path):
    masks = read_masks(mask_file(tmp_path / "masks.geojson", box(-87.601, 41.499, -87.599, 41.501)))
    folder = toy_artifact(tmp_path, msgspec.structs.replace(RIVERTON, masked=masks.digest), cutoff_s=NOW_S - 3600)
    beside = {**CALL, "incident_id": "2", "lat": 41.502}
    hidden, counted = foresee(read_artifact(folder), CALL, beside, masks=masks)
    assert (hidden.outcome, counted.outcome) == ("excluded", "counted")
    assert hidden.detail.endswith("or its place is masked")


def test_an_artifact_in_a_folder_of_another_name_refuses_under_that_name(riverton):
    [answer] = foresee(riverton, CALL | {"region": "lakeside", "category": "storm"}, region="lakeside")
    assert (answer.region, answer.outcome) == ("lakeside", "unknown_category")


def test_messages_meet_those_before_them(foreseen):
    answers = foreseen(
        CALL,
        CALL,
        {**CALL, "revision": 1, "category": "structure_fire"},
        {**CALL, "revision": 2, "status": "cancelled"},
        {**CALL, "incident_id": "2026-2", "occurred_at": "2026-03-12T08:30:00Z"},
        {**CALL, "incident_id": "2026-3", "occurred_at": "2026-03-14T08:46:00Z"},
        {**CALL, "incident_id": "2026-4", "origin": "officer_initiated"},
        {**CALL, "region": "lakeside"},
    )
    outcomes = ["counted", "duplicate", "corrected", "corrected", "late", "future", "excluded", "unknown_region"]
    assert [answer.outcome for answer in answers] == outcomes
    assert [answer.place for answer in answers if answer.is_refused] == ["4", "5", "7"]
    assert "origin" in answers[6].detail


def test_what_the_history_holds_is_told_as_such():
    folder = next((Path(streaming.__file__).parent / "sample" / "artifacts" / "montgomery").iterdir())
    county = read_artifact(folder)
    end_s = county.manifest.data.cutoff_s
    made = {**CALL, "region": "montgomery", "category": "fire", "lat": 40.12, "lon": -75.34}
    before, after = ({**made, "incident_id": f"{far_s}", "occurred_at": iso(end_s + far_s)} for far_s in (-60, 60))
    erased = {**before, "revision": 1, "status": "cancelled"}
    before, after, cancelled = foresee(county, before, after, erased, region="montgomery", now_s=end_s + 600)
    assert (cancelled.outcome, cancelled.detail) == (before.outcome, before.detail)  # the page on retention says so
    assert (before.outcome, "the artifact has counted it" in before.detail) == ("excluded", True)
    assert (after.outcome, after.detail) == ("counted", "")


def run(artifacts, *words, stdin=None):
    env = {"RISK_ARTIFACTS": str(artifacts), "COLUMNS": "160"}
    return CliRunner().invoke(app, ["check", *map(str, words)], env=env, input=stdin, catch_exceptions=False)


def test_the_command_names_the_line_and_ends_with_3(artifacts, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming.cli.check.time, "time", lambda: NOW_S)
    lines = tmp_path / "night.jsonl"
    lines.write_text("\n".join([json.dumps(CALL), "{not json [red]", json.dumps({**CALL, "lat": 10})]) + "\n")
    ran = run(artifacts, lines)
    assert ran.exit_code == 3
    assert "night.jsonl:2" in ran.output
    assert "night.jsonl:3" in ran.output
    assert "3 messages, by the artifacts of riverton: 1 counted, 2 refused" in ran.output
    ran = run(artifacts, "-", stdin=json.dumps(CALL) + "\n")
    assert (ran.exit_code, ran.output.strip()) == (0, "1 message, by the artifacts of riverton: 1 counted")
    ran = run(artifacts, *sorted((EXAMPLES / "good").glob("*.json")))
    assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), (b"", "there is no message in")])
def test_nothing_to_check_is_an_error(artifacts, tmp_path, content, said):
    path = tmp_path / "night.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        run(artifacts, path)


def test_what_is_unknown_or_personal_is_named_with_the_nearest_that_is_known(foreseen):
    answers = foreseen(
        {**CALL, "latitude": 1, "catgory": "x"},
        {**CALL, "callerName": "x", "more": [{"DOB": 1}]},
        {**CALL, "category": "Structure-Fires"},
        b'{"caller',
        {**CALL, "category": "Medical "},
    )
    assert [answer.outcome for answer in answers] == [
        "unknown_field",
        "person_field",
        "unknown_category",
        "person_field",
        "unknown_category",
    ]
    assert answers[0].detail.endswith("'catgory' (perhaps category), 'latitude'")
    assert answers[1].detail.endswith("not kept: 'DOB', 'callerName'")
    assert answers[2].detail.endswith("'Structure-Fires' (perhaps structure_fire)")
    assert answers[3].detail.endswith("not kept")
    assert answers[4].detail.endswith("'Medical ' (write exactly medical: lower case, without spaces)")


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])
def test_a_byte_order_mark_is_named_where_the_job_refuses_the_message(foreseen, mark):
    text = json.dumps(CALL)
    encoding = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(mark, "utf-8")
    marked, cut = foreseen(mark + text.encode(encoding), b"{not json")
    assert (marked.outcome, cut.outcome) == ("not_json", "not_json")
    assert "begins with a byte order mark: write UTF-8 without one" in marked.detail
    assert "mark" not in cut.detail


def test_all_that_is_unusual_is_shown_when_asked_for(artifacts, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming.cli.check.time, "time", lambda: NOW_S)
    lines = tmp_path / "night.jsonl"
    lines.write_text("{no json\n" * 30)
    assert "... and 10 more: --all shows them" in run(artifacts, lines).output
    shown = run(artifacts, lines, "--all").output
    assert "night.jsonl:30" in shown
    assert "more" not in shown


def test_check_imports_no_spark(tmp_path):
    toy_artifact(tmp_path / "artifacts", toy_spec())
    (tmp_path / "night.jsonl").write_text('{"region": "elsewhere"}\n', encoding="utf-8")
    ours = {"RISK_ARTIFACTS": str(tmp_path / "artifacts"), "COLUMNS": "200"}
    said, imported = imported_by([["check", "night.jsonl"]], {"pyspark"}, cwd=tmp_path, env=os.environ | ours)
    assert "1 message, by the artifacts of toyville: 1 refused" in said
    assert imported == []
