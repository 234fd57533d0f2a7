"""While scores are withheld the job counts on, and no new score reaches the store or a frame."""

from datetime import UTC, datetime

import msgspec
import pytest
from typer.testing import CliRunner

from incident_risk import app
from schemas.audit import read_log, records
from schemas.errors import SettingsError
from schemas.records import read_withheld, withheld_path
from streaming.job_health import HealthWatch, read_health
from tests.harness.batch import Rows, publisher_to, scored_row
from tests.harness.memory_sink import MemorySink
from tests.harness.points import points_in, tags_of
from tests.harness.toy import toy_artifact, toy_spec

WHY = "the council asked for it"


@pytest.fixture
def withhold(tmp_path, monkeypatch):
    """The command, for one deployment in `tmp_path`."""
    for name, place in {"FRAMES": "frames", "AUDIT": "audit.jsonl", "CHECKPOINT": "checkpoint"}.items():
        monkeypatch.setenv(f"RISK_{name}", str(tmp_path / place))
    monkeypatch.setenv("RISK_BY", "eve")
    (tmp_path / "frames").mkdir()

    def run(*words, **options):
        return CliRunner().invoke(app, ["withhold", *words], catch_exceptions=False, **options).output

    return run


def told(sink):
    """Measurement -> fields of its points, of all that was written since the last time."""
    written = b"".join(sink.writes).decode()
    sink.writes.clear()
    points = {}
    for key, _, fields in points_in(written):
        points.setdefault(key.partition(",")[0], {})[tags_of(key)["region"]] = fields
    return points


def test_no_score_is_published_meanwhile_and_all_are_from_the_next_batch_on(withhold, tmp_path):
    published, sink, frames, checkpoint = [], MemorySink(), tmp_path / "frames", tmp_path / "checkpoint"
    health = HealthWatch(checkpoint=checkpoint, clock="wall", trigger_s=0.5)
    watchers = [published.append, health.show, lambda _: health.write()]
    publisher = publisher_to(sink, checkpoint, watchers=watchers, frames_folder=frames)
    folder = toy_artifact(tmp_path / "artifacts", toy_spec())
    region = toy_spec().region

    publisher(Rows(scored_row(folder, 60)), 0)
    shown = told(sink)
    assert {"risk", "top", "unusual", "pipeline"} <= shown.keys()
    assert shown["pipeline"][region]["scores_of"] == "60.0"

    assert WHY in withhold(f"  {WHY}\n")
    publisher(Rows(scored_row(folder, 120)), 1)
    hidden = told(sink)
    assert hidden.keys() == {"pipeline"}
    ledger = hidden["pipeline"][region]
    assert (ledger["scores_of"], ledger["as_of"], ledger["model"], ledger["counted"]) == (
        *("0.0", "120.0", '"withheld"', "1.0"),
    )
    assert not published[-1].frames
    assert not published[-1].views
    assert published[-1].withheld.endswith(f": {WHY}")
    assert read_health(checkpoint, datetime.now(UTC))[0].withheld == published[-1].withheld
    assert published[-1].summaries[region].as_of_s == 120

    withhold("--end")
    publisher(Rows(scored_row(folder, 180)), 2)
    again = told(sink)
    assert len(again["risk"]) == len(shown["risk"])
    assert again["pipeline"][region]["model"] == shown["pipeline"][region]["model"]
    assert published[-1].views.keys() == {region}
    assert read_health(checkpoint, datetime.now(UTC))[0].withheld == ""


def test_both_are_on_record_and_a_second_reason_keeps_the_first_time(withhold, tmp_path):
    withhold(WHY)
    first = read_withheld(tmp_path / "frames")
    path = withheld_path(tmp_path / "frames")
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(first, since_s=first.since_s - 100)))
    withhold("another reason")
    assert read_withheld(tmp_path / "frames").since_s == first.since_s - 100
    withhold("--end")
    assert "are not withheld" in withhold("--end")
    noted = list(records(read_log(tmp_path / "audit.jsonl")))
    assert [each.event for each in noted] == ["scores_withheld", "scores_withheld", "scores_shown_again"]
    assert [each.details["because"] for each in noted] == [WHY, "another reason", ""]
    assert [each.details["before"].rpartition(": ")[2] for each in noted] == ["shown", WHY, "another reason"]
    assert {each.details["by"] for each in noted} == {"eve"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to do"),
        (("  ",), "nothing to do"),
        (("because", "--end"), "nothing to do"),
        (("x" * 201,), "a reason of 201 characters"),
    ],
)
def test_a_reason_that_can_be_shown_or_an_end_is_asked_for(withhold, words, said, tmp_path):
    with pytest.raises(SettingsError, match=said):
        withhold(*words)
    assert not (tmp_path / "audit.jsonl").exists()


def test_it_holds_for_a_first_start(withhold, tmp_path):
    frames, sink = tmp_path / "deep" / "frames", MemorySink()
    said = withhold(WHY, env={"RISK_FRAMES": str(frames)})
    assert WHY in said
    assert f"{frames} is new: job and service must have the same RISK_FRAMES" in said
    publisher = publisher_to(sink, tmp_path / "checkpoint", frames_folder=frames)
    publisher(Rows(scored_row(toy_artifact(tmp_path / "artifacts", toy_spec()), 60)), 0)
    assert told(sink).keys() == {"pipeline"}
    assert "is new" not in withhold(WHY)


def test_its_end_makes_no_folder(withhold, tmp_path):
    assert "are not withheld" in withhold("--end", env={"RISK_FRAMES": str(tmp_path / "other")})
    assert not (tmp_path / "other").exists()


def test_a_reason_has_no_control_characters(withhold, tmp_path):
    withhold("a\x1b[2J b\n\nc")
    assert read_withheld(tmp_path / "frames").because == "a [2J b c"


@pytest.mark.parametrize("content", ["{", '{"since_s":1796069613000,"because":"x"}', '{"since_s":-1,"because":"x"}'])
def test_a_file_that_nobody_can_read_withholds(withhold, tmp_path, content):
    path = withheld_path(tmp_path / "frames")
    path.write_text(content, encoding="utf-8")
    assert "cannot be read" in read_withheld(path.parent).in_words()
    withhold(WHY)
    assert "1970" not in read_withheld(path.parent).in_words()
    path.write_text(content, encoding="utf-8")
    withhold("--end")
    assert read_withheld(path.parent) is None
