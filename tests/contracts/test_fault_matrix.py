"""Every fault of the matrix has a test, every test's fault is in it, and so is every invariant that it names."""

import json
import re
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from typer.testing import CliRunner

from tests.faults import report
from tests.faults.__main__ import RESULTS, app, lines_in
from tests.faults.marked import Marked
from tests.faults.matrix import FAULTS, Fault
from tests.faults.promises import INVARIANTS
from tests.faults.report import broken_in, lines_of_faults, page_of, results_of, text_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def listed():
    """What `python -m tests.faults list` prints. Here pytest has most of the tests' modules already."""
    ran = CliRunner().invoke(app, ["list"])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.output)


@pytest.fixture(scope="module")
def tests_of(listed):
    return {fault["id"]: fault["tests"] for fault in listed["faults"]}


def test_every_fault_is_there_once_and_in_order():
    assert [fault.id for fault in FAULTS] == [f"F{number:02d}" for number in range(len(FAULTS))]


def test_every_fault_is_played_by_a_test_or_says_why_not(tests_of):
    for fault in FAULTS:
        assert bool(tests_of[fault.id]) != bool(fault.not_run), fault.id


def test_every_mark_names_a_fault_of_the_matrix(listed):
    assert listed["unknown"] == {}


def test_the_invariants_that_must_hold_are_explained():
    for fault in FAULTS:
        assert set(re.findall(r"I\d+", fault.holds)) <= set(INVARIANTS)


JUNIT = """<testsuites><testsuite>
<testcase classname="tests.faults.test_scenarios" name="test_every_invariant_holds[baseline]">
  <properties><property name="recovery_s" value="2.5"/></properties></testcase>
<testcase classname="tests.faults.test_scenarios" name="test_every_invariant_holds[kill_now]">
  <failure message="I1: lost">I1: lost</failure></testcase>
<testcase classname="tests.faults.test_checkpoint_damage"
  name="test_a_damaged_snapshot_is_made_up_for_by_the_changes_since_the_beginning[flip_tables]">
  <skipped message="no disk"/></testcase>
<testcase classname="tests.faults.test_process" name="test_a_killed_executor_is_replaced">
  <properties><property name="recovery_s" value="61"/></properties></testcase>
</testsuite></testsuites>"""


def test_the_report_says_what_held_what_broke_and_what_was_not_run(tmp_path, tests_of):
    (tmp_path / "matrix.xml").write_text(JUNIT, encoding="utf-8")
    noted = {"at": "2026-11-26 01:00", "commit": "0b204f5+", "exit_code": 1, "tests": tests_of}
    (tmp_path / "matrix.json").write_text(json.dumps(noted), encoding="utf-8")
    results = json.loads(text_of(results_of([tmp_path / "matrix.xml"])))
    broke = broken_in(results)
    assert {"F01", "F02", "F04"} < set(broke)
    assert not {"F00", "F12", "F31", "F36"} & set(broke)
    shown = "\n".join(lines_of_faults(results))
    heads = {line[:3]: line for line in shown.splitlines() if re.match(r"F\d\d ", line)}
    assert heads.keys() == {fault.id for fault in FAULTS}
    assert heads["F00"].endswith(": held in part, real 1, 1 tests did not run, recovered after 2 s")
    assert heads["F04"].endswith(": broken, real 1, 1 tests did not run, recovered after 61 s")
    assert ": broken, failed: test_every_invariant_holds[kill_now], " in heads["F01"]
    assert ": skipped, 1 skipped: no disk, " in heads["F31"]
    assert heads["F02"].endswith(": not run, 6 tests did not run")
    assert ": held in part, real 1, 2 tests did not run" in heads["F12"]
    assert "ran on 2026-11-26 01:00 on commit 0b204f5+; pytest ended with exit code 1" in shown


def test_the_page_is_the_one_that_the_kept_results_give():
    faults = ROOT / "tests" / "faults"
    results = json.loads((faults / "matrix.json").read_text(encoding="utf-8"))
    assert list(results["faults"]) == [fault.id for fault in FAULTS]
    assert broken_in(results) == []
    page = (ROOT / "docs" / "explanation" / "reliability.md").read_text(encoding="utf-8")
    assert page == page_of(results, lines_in(RESULTS))


def test_the_command_shows_every_fault_and_every_run_that_broke_something():
    shown = CliRunner().invoke(app, ["show"])
    assert shown.exit_code == 0
    assert re.findall(r"^(F\d\d)  ", shown.output, re.MULTILINE) == [fault.id for fault in FAULTS]
    broken = [line["seed"] for line in lines_in(RESULTS) if line["broken"]]
    assert list(map(int, re.findall(r"^seed (\d+) ", shown.output, re.MULTILINE))) == broken


def junit_of(tests, without):
    """All tests passed, but for those that were skipped."""
    for test in tests:
        path, name = test.split("::")
        inside = '<skipped message="no GPU"/>' if test in without else ""
        module = path.removesuffix(".py").replace("/", ".")
        yield f'<testcase classname="{module}" name={quoteattr(name)}>{inside}</testcase>'


def test_the_head_counts_the_faults_by_outcome_and_names_those_that_were_not_tried(tmp_path, tests_of):
    skipped = (*tests_of["F37"], tests_of["F13"][0])
    cases = [case for fault, tests in tests_of.items() if fault != "F41" for case in junit_of(tests, without=skipped)]
    (tmp_path / "matrix.xml").write_text(f"<testsuite>{''.join(cases)}</testsuite>", encoding="utf-8")
    noted = {"at": "now", "commit": "0b204f5", "exit_code": 0, "tests": tests_of}
    (tmp_path / "matrix.json").write_text(json.dumps(noted), encoding="utf-8")
    results = results_of([tmp_path / "matrix.xml"])
    head = " ".join(page_of(results, []).partition("## Promises")[0].split())
    counts = f"Of {len(FAULTS)} faults: {len(FAULTS) - 4} held; 1 held in part (F13); 0 broken; 1 skipped (F37)"
    assert f"{counts}; 2 not run (F36, F41)." in head
    assert "1 skipped: no GPU" in next(line for line in lines_of_faults(results) if "F13 " in line)
    assert broken_in(results) == ["F41"]


def test_a_fault_is_a_row_and_a_test_with_its_mark(tmp_path, monkeypatch):
    leak = Fault("F99", "the roof leaks", "water", "I1")
    monkeypatch.setattr(report, "FAULTS", (leak,))
    monkeypatch.setitem(report.FAULT_BY_ID, "F99", leak)
    test = tmp_path / "test_roof.py"
    test.write_text('import pytest\n\n\n@pytest.mark.fault("F99")\ndef test_water():\n    pass\n', encoding="utf-8")
    marked = Marked()
    alone = ["-p", "no:cacheprovider", "-p", "no:unraisableexception"]  # the latter collects all garbage ten times
    assert pytest.main(["-q", *alone, "--rootdir", str(ROOT), str(test)], plugins=[marked]) == 0
    (played,) = marked.tests["F99"]
    assert played.endswith("::test_water")
    tests = {"F99": ["tests/faults/test_roof.py::test_water"]}
    (tmp_path / "matrix.xml").write_text(f"<testsuite>{''.join(junit_of(tests['F99'], ()))}</testsuite>", "utf-8")
    noted = {"at": "now", "commit": "0b204f5", "exit_code": 0, "tests": tests}
    (tmp_path / "matrix.json").write_text(json.dumps(noted), encoding="utf-8")
    assert "F99  the roof leaks: held" in "\n".join(lines_of_faults(results_of([tmp_path / "matrix.xml"])))
