"""Documents for officials: made from what is known, open where only the agency knows."""

import re
from pathlib import Path

import pytest
import typer

from incident_risk import app
from models.artifact import champion_of, read_manifest
from schemas.errors import ArtifactError
from streaming.cli.accountability import TABLE, TEMPLATES, documents_of, facts_of
from tests.harness.gate_town import command
from tests.harness.toy import toy_artifact, toy_spec

SAMPLE = Path(__file__).parents[3] / "streaming" / "sample" / "artifacts"
GOLDEN = Path(__file__).with_name("documents.txt")
NOW_S = 1_764_000_000
NAMES = ["datasheet.md", "impact-assessment.md", "public-guide.md"]


def made(manifest):
    """By the files' names, (text, what is asked of the agency)."""
    facts = {**facts_of(manifest, NOW_S), "product": "1.2.3"}
    return {name: (text, asked) for name, text, asked in documents_of(facts)}


@pytest.fixture(scope="module")
def of_the_county():
    return made(champion_of(SAMPLE, "montgomery").manifest)


def said_of_every_region():
    """Lines of the templates that depend on nothing but what the agency writes."""
    texts = [re.sub(r"(?ms)^{% if .*?^{% endif %}", "", path.read_text("utf-8")) for path in TEMPLATES.iterdir()]
    return set(re.sub(r'{{ agency\("(.*?)"\) }}', r"**[the agency: \1]**", "\n".join(texts)).splitlines())


def test_what_they_say_of_a_region_is_what_was_read_and_approved(of_the_county):
    """After a change read the difference, and then write the new lines there."""
    lines = [line for name, (text, _) in of_the_county.items() for line in (f"#### {name}", *text.splitlines())]
    form = said_of_every_region()
    said = [line for line in lines if line not in form and not line.startswith("| ")]
    assert said == GOLDEN.read_text("utf-8").splitlines()


def test_what_is_kept_is_that_of_the_table(of_the_county):
    rows = [line for line in of_the_county["impact-assessment.md"][0].splitlines() if line.startswith("| ")]
    for row, kept in zip(rows[2:], (kept for kept in TABLE if kept.ended_by != "you"), strict=True):
        ended = f"after {kept.days} days, by {kept.ended_by}" if kept.days else f"by {kept.ended_by}"
        what, ended, readers = (text.replace("`", "") for text in (kept.what, ended, kept.readers))
        assert row == f"| {what} | {ended} | {kept.why} | {readers} |"


@pytest.mark.parametrize(("part", "last"), [("Data protection", "d"), ("Fundamental rights", "f")])
def test_a_draft_has_each_point_of_its_article_and_claims_nothing(of_the_county, part, last):
    text, _ = of_the_county["impact-assessment.md"]
    of_part = text.split(f"\n## {part}\n")[1].split("\n## ")[0]
    points = re.findall(r"^### \((\w)\)", of_part, re.MULTILINE)
    assert points == [chr(letter) for letter in range(ord("a"), ord(last) + 1)]
    assert text.startswith("# Draft of ")


def test_every_command_that_a_document_names_is_one(of_the_county):
    others = {"acted on", "not useful", "influx bucket list"}
    named = [
        span.split()
        for text, _ in of_the_county.values()
        for span in re.findall(r"`([^`]+)`", text)
        if re.match(r"[a-z -]+ [a-z]", span) and span not in others
    ]
    assert {program for program, *_ in named} == {"risk"}
    for _, name, *_ in named:
        assert name in typer.main.get_command(app).commands, name


@pytest.mark.parametrize("name", NAMES)
def test_every_document_leaves_to_the_agency_what_only_it_knows(of_the_county, name):
    text, asked = of_the_county[name]
    assert len(asked) == text.count("**[the agency: ") >= 5
    assert not re.search(r"complian(t|ce)|complies|certified|guarantee", text.replace("claims no compliance", ""))
    assert not re.search("predictive policing", text, re.IGNORECASE)


def untrained(folder, **changes):
    """A manifest."""
    return read_manifest(toy_artifact(folder, toy_spec(**changes)))


def test_a_region_without_a_trained_network_says_so(tmp_path):
    manifest = untrained(tmp_path)
    assert manifest.evaluation == []
    texts, began = made(manifest), facts_of(manifest, NOW_S)["cutoff"]
    guide = texts["public-guide.md"][0]
    assert f"**What it learned from.** Nothing yet: on {began} it began with a guess" in guide
    assert "**How good it is.** Not known: it was never trained, and so never judged." in guide
    assert f"**How old it is.** It began on {began}, " in guide
    assert not re.search(r"has learned|was fitted|data end|\b0 incidents", guide)
    assert "not trained yet" in texts["datasheet.md"][0]


def test_the_impact_assessment_says_which_masks_are_in_force(of_the_county, tmp_path):
    digest = "0123456789abcdef"
    masked = made(untrained(tmp_path, masked=digest))
    assert f"the file of masks {digest}" in masked["impact-assessment.md"][0]
    assert "No area is masked" in of_the_county["impact-assessment.md"][0]


def test_the_command_writes_them_and_counts_what_is_open(tmp_path):
    def run(region, *options):
        words = ("--region", region, "--out", tmp_path / "out", *options)
        return command("documents", *words, RISK_ARTIFACTS=str(SAMPLE))

    said = run("montgomery").splitlines()
    assert [Path(line.partition(":")[0]).name for line in said] == NAMES
    for line in said:
        path, _, rest = line.partition(": ")
        assert int(rest.split()[0]) == Path(path).read_text(encoding="utf-8").count("**[the agency: ")
    with pytest.raises(ArtifactError):
        run("nowhere")
