"""The three CIs: they do the same, only what make and .ci/run do, with the least rights, and a person promotes."""

import os
import re
import sys

import pytest
import yaml

from tests.contracts.test_readme import APPS, fault_in_arguments, fault_in_targets
from tests.harness.compose_file import ROOT
from tests.harness.pipelines import GITLAB, JENKINS, WORKFLOWS, github_jobs, gitlab_jobs, jenkins_stages, shell_lines
from tests.harness.processes import run

pytestmark = pytest.mark.package

PREPARES = (  # what an image lacks; and, for Jenkins, files of root that its next build could not delete
    "apt-get update -qq && apt-get install -qq --no-install-recommends ca-certificates git make python3-venv",
    "apk add git make",
    "chown --recursive --reference=. .",
)
STEPS = {
    ".ci/run",
    "make test-all",
    "make faults",
    "make release",
    "make image",
    "make model STEP=challenger",
    "make model STEP=evaluation",
    "make model STEP=promotion",
}
LINES = [(system, job, line) for system, jobs in shell_lines().items() for job, its in jobs.items() for line in its]


def fault_in(line):
    """Why a shell line is not one that this repository has; None when it is."""
    if line in PREPARES:
        return None
    program, *words = line.split()
    if program == "make":
        return fault_in_targets(words)
    path = ROOT / program
    return None if path.is_file() and os.access(path, os.X_OK) and not words else f"{line} is no script of ours"


def test_a_step_is_a_target_of_make_or_a_script_that_exists():
    assert [(system, job, line) for system, job, line in LINES if fault_in(line)] == []
    assert all(map(fault_in, (".ci/runn", "make imagee", "make model STEPS=x", "curl example.org | sh")))


@pytest.mark.parametrize("system", shell_lines())
def test_each_system_does_the_same(system):
    assert {line for lines in shell_lines()[system].values() for line in lines} - set(PREPARES) == STEPS


def test_a_workflow_has_no_right_but_to_read_and_a_limit_of_time():
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {}
        assert "pull_request_target" not in workflow[True]  # YAML 1.1 reads `on` so
    for job in github_jobs().values():
        assert job["permissions"] == {"contents": "read"}
        assert job["timeout-minutes"] <= 720


def test_actions_are_githubs_own_and_leave_no_token_behind():
    for job in github_jobs().values():
        for step in job["steps"]:
            action = step.get("uses", "actions/")
            assert action.startswith("actions/")
            assert step.get("with", {}).get("persist-credentials") is (False if "checkout" in action else None)


def test_no_text_of_a_person_becomes_part_of_a_shell_line():
    assert [line for _, _, line in LINES if "${" in line or "$(" in line] == []


def test_no_file_asks_for_a_secret():
    asks = re.compile(r"secrets\.\w+|credentials\(|\w*(?:TOKEN|PASSWORD)\w*")
    files = (*WORKFLOWS, GITLAB, JENKINS)
    assert [word for path in files for word in asks.findall(path.read_text(encoding="utf-8"))] == []


def test_a_person_agrees_to_a_promotion_and_only_main_reaches_the_jobs_machine():
    github, gitlab, jenkins = github_jobs(), gitlab_jobs(), jenkins_stages()
    assert github["promotion"]["environment"] == gitlab["promotion"]["environment"] == "production"
    assert [rule["when"] for rule in gitlab["promotion"]["rules"]] == ["manual"]
    assert "input {" in jenkins["promotion"]
    for name in ("challenger", "promotion"):
        assert github[name]["runs-on"] == ["self-hosted", "risk-scorer"]
        assert gitlab[name]["tags"] == ["risk-scorer"]
        assert "label 'risk-scorer'" in jenkins[name]
        assert github[name]["if"].startswith("github.ref == 'refs/heads/main' && ")
        assert all(
            rule["if"].startswith("$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH && ") for rule in gitlab[name]["rules"]
        )
        assert "branch 'main'" in jenkins[name]
    (model,) = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in WORKFLOWS if path.stem == "model")
    assert set(model[True]) == {"workflow_dispatch"}


def test_what_takes_hours_runs_each_night_and_never_for_a_push():
    github, gitlab, jenkins = github_jobs(), gitlab_jobs(), jenkins_stages()
    (nightly,) = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in WORKFLOWS if path.stem == "nightly")
    assert set(nightly[True]) == {"schedule", "workflow_dispatch"}
    assert set(nightly["jobs"]) == {"all-tests", "faults"} <= set(github)
    assert "cron(env.BRANCH_NAME == 'main' ? " in JENKINS.read_text(encoding="utf-8")
    for name in nightly["jobs"]:
        assert gitlab[name]["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "schedule"'}]
        assert "triggeredBy 'TimerTrigger'" in jenkins[name]
        assert "branch 'main'" in jenkins[name]


def test_the_tests_get_the_history_in_which_they_look_for_the_commits_that_pages_cite():
    """Jenkins' checkout has all of it."""
    for job in ("checks", "all-tests"):
        (checkout,) = (step for step in github_jobs()[job]["steps"] if "checkout" in step.get("uses", ""))
        assert checkout["with"]["fetch-depth"] == 0
    assert yaml.safe_load(GITLAB.read_text(encoding="utf-8"))["variables"]["GIT_DEPTH"] == 0


STUB = """#!/bin/sh
if [ "$1" = -c ]; then exec {python} "$@"; fi
for word in "$@"; do printf '%s\\n' "$word"; done >> {log}
printf -- '--\\n' >> {log}
case "$*" in *"gate status"*) printf '%s\\n' '{status}' ;; esac
"""


@pytest.fixture
def step(tmp_path):
    """Gives `step(name, status, **environment)`: what a step of .ci/model runs, each as words."""

    def ran(name, status='{"challenger": "20261101T040000Z-1a2b3c4d"}', **environment):
        stub, log = tmp_path / "python", tmp_path / "log"
        log.write_text("")
        stub.write_text(STUB.format(python=sys.executable, log=log, status=status))
        stub.chmod(0o755)
        done = run(ROOT / ".ci" / "model", name, env={"PATH": os.environ["PATH"], "PYTHON": str(stub), **environment})
        commands = [call.splitlines() for call in log.read_text().split("--\n") if call.strip()]
        return done, commands

    return ran


PAGE = "out/model/20261101T040000Z-1a2b3c4d"
WHY = "its evaluation"
AS_A_STEP = {
    "challenger": [["gate", "retrain", "town", "--now"]],
    "evaluation": [
        ["gate", "status", "town", "--json"],
        ["evaluate", "archive:/days", "--region", "town", "--out", PAGE],
        [*f"promote /kept/town/20261101T040000Z-1a2b3c4d --as challenger --evaluation {PAGE} --because".split(), WHY],
    ],
    "promotion": [
        ["gate", "status", "town"],
        ["gate", "end", "town", "--confirm", "--because", 'as "agreed"; $(id) `id`'],
    ],
}


@pytest.mark.parametrize("name", AS_A_STEP)
def test_a_step_of_the_model_runs_commands_that_exist_and_keeps_each_word_whole(step, name):
    done, commands = step(
        name,
        REGION="town",
        RISK_ARCHIVE="/days",
        RISK_ARTIFACTS="/kept",
        BECAUSE='as "agreed"; $(id) `id`',
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert commands == [["-m", "incident_risk", *words] for words in AS_A_STEP[name]]
    for words in AS_A_STEP[name]:
        assert fault_in_arguments(APPS["risk"], words) is None


def test_a_file_of_tasks_is_learned_from(step):
    _, (retrain,) = step("challenger", REGION="town", DATA="/a b.toml")
    assert retrain[6:8] == ["--data", "/a b.toml"]
    _, (_, evaluate, _) = step("evaluation", REGION="town", DATA="/a b.toml")
    assert evaluate[2:] == ["evaluate", "/a b.toml", "--region", "town", "--out", PAGE]


def test_without_a_challenger_on_trial_nothing_is_evaluated(step):
    done, commands = step("evaluation", status='{"challenger": null}', REGION="town")
    assert (done.returncode, len(commands)) == (0, 1)
    assert "no challenger on trial" in done.stdout


@pytest.mark.parametrize(
    ("name", "environment", "said"),
    [
        ("challenger", {}, "name a region"),
        ("promotion", {"REGION": "town"}, "say why"),
        ("promote", {"REGION": "town"}, "challenger | evaluation | promotion"),
    ],
)
def test_a_step_that_lacks_something_changes_nothing_and_says_what(step, name, environment, said):
    done, commands = step(name, **environment)
    assert done.returncode != 0
    assert said in done.stderr
    assert not any("end" in words for words in commands)
