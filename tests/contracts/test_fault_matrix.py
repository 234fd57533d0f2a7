"""Every fault of the matrix has a test, every test's fault is in it, and so is every invariant that it names."""

import io
import json
import re
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from typer.testing import CliRunner

from tests.faults.__main__ import (
    FAULT_BY_ID,
    Marked,
    app,
    broken_in,
    lines_of_faults,
    page_of,
    results_of,
    seed_runs,
    text_of,
)
from tests.faults.matrix import FAULTS, INVARIANTS, Fault

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tests_of():
    """By fault, of what `python -m tests.faults list` prints. Here pytest has most of the tests' modules already."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(sys, "argv", ["faults", "list"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "tests" / "faults" / "__main__.py"), run_name="__main__")
    assert ended.value.code == 0, printed.getvalue()
    listed = json.loads(printed.getvalue())
    assert listed["unknown"] == {}, "a mark names no fault of the matrix"
    return {fault["id"]: fault["tests"] for fault in listed["faults"]}


def test_every_fault_is_there_once_and_in_order_and_is_played_by_a_test_or_says_why_not(tests_of):
    assert [fault.id for fault in FAULTS] == [f"F{number:02d}" for number in range(len(FAULTS))]
    for fault in FAULTS:
        assert bool(tests_of[fault.id]) != bool(fault.not_run), fault.id
        assert set(re.findall(r"I\d+", fault.holds)) <= set(INVARIANTS), fault.id
        for scenario in fault.plays:
            assert any(f"[{scenario}]" in test for test in tests_of[fault.id]), scenario


def test_the_page_is_the_one_that_the_kept_results_give():
    faults = ROOT / "tests" / "faults"
    results = json.loads((faults / "matrix.json").read_text(encoding="utf-8"))
    assert list(results["faults"]) == [fault.id for fault in FAULTS], "run `make faults`, and commit what it writes"
    assert broken_in(results) == []
    page = (ROOT / "docs" / "explanation" / "reliability.md").read_text(encoding="utf-8")
    assert page == page_of(results, seed_runs())


def test_the_command_shows_every_fault_and_every_run_that_broke_something():
    shown = CliRunner().invoke(app, ["show"])
    assert shown.exit_code == 0
    assert re.findall(r"^(F\d\d)  ", shown.output, re.MULTILINE) == [fault.id for fault in FAULTS]
    broken = [line["seed"] for line in seed_runs() if line["broken"]]
    assert list(map(int, re.findall(r"^seed (\d+) ", shown.output, re.MULTILINE))) == broken


def junit_of(tests, *, skipped=(), failed=(), slow=()):
    """All tests passed and recovered at once, but for those that are named."""
    for test in tests:
        path, name = test.split("::")
        inside = '<skipped message="no GPU"/>' * (test in skipped) + "<failure/>" * (test in failed)
        inside += f'<properties><property name="recovery_s" value="{61 if test in slow else 2.5}"/></properties>'
        module = path.removesuffix(".py").replace("/", ".")
        yield f'<testcase classname="{module}" name={quoteattr(name)}>{inside}</testcase>'


def results_in(folder, cases, tests, *, kept=None, **alone):
    """What `report` makes of these cases of JUnit. alone: `fault`, if it ran alone."""
    (folder / "matrix.xml").write_text(f"<testsuite>{''.join(cases)}</testsuite>", encoding="utf-8")
    noted = {"at": "2026-11-26 01:00", "commit": "0b204f5+", "exit_code": 1, "tests": tests, **alone}
    (folder / "matrix.json").write_text(json.dumps(noted), encoding="utf-8")
    return json.loads(text_of(results_of(folder / "matrix.xml", kept)))


def test_the_report_says_what_held_what_broke_and_what_was_not_run(tmp_path, tests_of):
    (failed,), skipped = tests_of["F35"], (*tests_of["F37"], tests_of["F13"][0])
    how = {"skipped": skipped, "failed": {failed}, "slow": tests_of["F20"][:1]}
    cases = {case for fault, tests in tests_of.items() if fault != "F41" for case in junit_of(tests, **how)}
    results = results_in(tmp_path, cases, tests_of)
    assert broken_in(results) == ["F20", "F35", "F41"]
    head = " ".join(page_of(results, []).partition("## Promises")[0].split())
    others = "1 held in part (F13); 2 broken (F20, F35); 1 skipped (F37); 2 not run (F36, F41)."
    assert f"Of {len(FAULTS)} faults: {len(FAULTS) - 6} held; {others}" in head
    assert "ran on 2026-11-26 01:00 on commit 0b204f5+; pytest ended with exit code 1" in head
    shown = {line[1:4]: line for line in lines_of_faults(results) if line.startswith("\nF")}
    assert shown.keys() == {fault.id for fault in FAULTS}
    assert "1 skipped: no GPU" in shown["F13"]
    assert f": broken, failed: {failed.partition('::')[2]}" in shown["F35"]
    assert shown["F20"].endswith("recovered after 61 s")
    assert ": not run, " in shown["F41"]


PLAYED = (("F99", "water"), ("F25", "fire"))


def test_a_fault_is_a_row_and_a_run_of_the_tests_with_its_mark(tmp_path, monkeypatch):
    leak = Fault("F99", "the roof leaks", "water", "I1")
    monkeypatch.setitem(FAULT_BY_ID, "F99", leak)
    test = tmp_path / "test_roof.py"
    lines = [f'@pytest.mark.fault("{fault}")\ndef test_{name}():\n    pass\n' for fault, name in PLAYED]
    test.write_text("import pytest\n\n\n" + "\n\n".join(lines), encoding="utf-8")
    marked = Marked("F99")
    alone = ["-p", "no:cacheprovider", "-p", "no:unraisableexception"]  # the latter collects all garbage ten times
    assert pytest.main(["-q", *alone, "--rootdir", str(ROOT), str(test)], plugins=[marked]) == 0
    ((fault, (played,)),) = marked.tests.items()
    assert (fault, played.partition("::")[2]) == ("F99", "test_water")
    kept = json.loads((ROOT / "tests" / "faults" / "matrix.json").read_text(encoding="utf-8"))
    tests = {"F99": ["tests/faults/test_roof.py::test_water"]}
    results = results_in(tmp_path, junit_of(tests["F99"]), tests, kept=kept, fault="F99")
    told = "\n".join(lines_of_faults(results))
    assert "F99  the roof leaks: held" in told
    assert "F99 ran on 2026-11-26 01:00 on commit 0b204f5+" in told
    assert {**results["faults"], "F99": None} == {**kept["faults"], "F99": None}
    assert broken_in(results) == []
    nothing = results_of(tmp_path / "none.xml", kept)
    assert (nothing["faults"].pop("F99")["outcome"], nothing) == ("not run", kept)
    assert results_in(tmp_path, junit_of(tests["F99"]), tests, kept=results, fault="F99") == results  # and again
