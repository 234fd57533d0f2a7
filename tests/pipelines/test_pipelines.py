"""The three CIs: they do the same, only what make and .ci/run do, with the least rights, and a person promotes.

Also what others' tools say of their files; `make pipelines-check` gets them all.
"""

import json
import os
import re
import shutil
import sys

import pytest
import yaml

from tests.contracts.test_readme import APPS, fault_in_arguments, fault_in_targets
from tests.harness.compose_file import ROOT, tool
from tests.harness.processes import run

pytestmark = pytest.mark.package
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
GITLAB, JENKINS = ROOT / ".gitlab-ci.yml", ROOT / "Jenkinsfile"
_NO_JOBS = ("stages", "variables", "workflow")


def github_jobs():
    """Each job of each workflow, by name."""
    return {name: job for path in WORKFLOWS for name, job in yaml.safe_load(path.read_text())["jobs"].items()}


def gitlab_jobs():
    """Each job, with what it extends; hidden ones are left out."""
    read = {name: job for name, job in yaml.safe_load(GITLAB.read_text()).items() if name not in _NO_JOBS}
    return {name: read.get(job.get("extends"), {}) | job for name, job in read.items() if not name.startswith(".")}


def jenkins_stages():
    """The text of each stage."""
    _, *parts = re.split(r"^        stage\('([\w-]+)'\) \{$", JENKINS.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def shell_lines():
    """System -> job -> its shell lines."""
    github = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in github_jobs().items()}
    gitlab = {name: [*job.get("before_script", []), *job["script"]] for name, job in gitlab_jobs().items()}
    jenkins = {name: re.findall(r"\bsh '([^']*)'", text) for name, text in jenkins_stages().items()}
    found = {"GitHub": github, "GitLab": gitlab, "Jenkins": jenkins}
    return {
        system: {job: [line for text in texts for line in text.splitlines()] for job, texts in jobs.items()}
        for system, jobs in found.items()
    }


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
    given = {"REGION": "town", "RISK_ARCHIVE": "/days", "RISK_ARTIFACTS": "/kept"}
    done, commands = step(name, **given, BECAUSE='as "agreed"; $(id) `id`')
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


NODE_PROGRAMS = ROOT / ".venv" / "node" / "node_modules" / ".bin"


def needed(name, program=None):
    program = program or tool(name)
    if program is None:
        pytest.skip(f"{name} is not installed: `make pipelines-check` does it")
    return program


SCHEMAS = [("github-workflows", path) for path in WORKFLOWS] + [("gitlab-ci", GITLAB)]


@pytest.mark.parametrize(("kind", "path"), SCHEMAS, ids=lambda value: getattr(value, "name", ""))
def test_a_file_keeps_the_schema_of_its_system(kind, path):
    options = ["--data-transform", "gitlab-ci"] if kind == "gitlab-ci" else []
    ran = run(needed("check-jsonschema"), "--builtin-schema", f"vendor.{kind}", *options, path)
    assert ran.returncode == 0, ran.stdout


ZIZMOR = ("--offline", "--no-progress", "--quiet", "--config", ROOT / ".github" / "zizmor.yml", *WORKFLOWS)
ACTIONLINT = ("-no-color", "-config-file", ROOT / ".github" / "actionlint.yaml")


@pytest.mark.parametrize(("linter", "options"), [("zizmor", ZIZMOR), ("actionlint", ACTIONLINT)])
def test_a_linter_finds_nothing_in_the_workflows(linter, options):
    ran = run(needed(linter), *options)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.nightly
def test_the_linter_of_groovy_finds_no_error_in_the_jenkinsfile():
    program = needed("npm-groovy-lint", shutil.which("npm-groovy-lint", path=NODE_PROGRAMS))
    ran = run(program, "--noserver", "--failon", "error", "--output", "json", JENKINS)
    assert (ran.returncode, json.loads(ran.stdout)["summary"]["totalFoundErrorNumber"]) == (0, 0)
