"""What the files of each CI do: their shell lines, by the name of the job or stage."""

import re

import yaml

from tests.harness.compose_file import ROOT

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
    return {system: {job: _split(lines) for job, lines in jobs.items()} for system, jobs in found.items()}


def _split(texts):
    return [line for text in texts for line in text.splitlines()]
