"""deploy/ansible: what its linter says, and that it runs the commands of the pages."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.harness.compose_file import ROOT, SERVICES
from tests.harness.processes import run

pytestmark = pytest.mark.package

ANSIBLE = ROOT / "deploy" / "ansible"
PAGES = ("deploy/README.md", "docs/how-to/operations.md", "docs/how-to/secrets.md")
TEMPLATE = re.compile(r"\{\{.*?\}\}")
ASKING = ("docker version", "docker compose ps", "docker compose config", "git rev-parse")  # changes nothing


def test_the_linter_finds_nothing_by_the_profile_for_production():
    program = Path(sys.executable).with_name("ansible-lint")
    options = ("--offline", "--nocolor", "--profile", "production", "--config-file", ANSIBLE / ".ansible-lint")
    ran = run(program, *options, cwd=ANSIBLE)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Profile 'production' was required, and it passed" in ran.stdout + ran.stderr


def commands(tasks):
    """The words of each command of a list of tasks, loops and blocks unrolled."""
    for task in tasks:
        yield from commands(task.get("block", []))
        command = task.get("ansible.builtin.command", "")
        if isinstance(command, str) and command:
            yield from task["loop"] if command == "{{ item }}" else [command]


def as_on_a_page(command):
    """A pattern for the command, whatever stands where it has a template."""
    parts = [
        re.escape(part) for part in TEMPLATE.split(command.replace("exec -T", "exec").replace("grafana", "scorer"))
    ]
    return r"\S*".join(parts)


def test_the_commands_of_the_role_are_those_of_the_pages():
    pages = " ".join("\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES).split())
    pages += " sh deploy/make-secrets.sh secrets"  # `make secrets`, where there is no make
    tasks = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in ANSIBLE.glob("roles/scorer/tasks/*.yml"))
    named = [command for each in tasks for command in commands(each) if not command.startswith(ASKING)]
    assert len(named) > 12
    assert [
        command for command in named if not re.search(as_on_a_page(command.removesuffix(" {{ scorer_backup }}")), pages)
    ] == []


def test_the_settings_of_a_machine_are_not_printed_with_their_differences():
    tasks = yaml.safe_load((ANSIBLE / "roles/scorer/tasks/run.yml").read_text(encoding="utf-8"))
    (writes,) = (task for task in tasks if task.get("ansible.builtin.copy", {}).get("dest", "").endswith("/.env"))
    assert writes["diff"] is False


def test_the_inventorys_values_are_those_that_the_roles_read():
    groups = yaml.safe_load((ANSIBLE / "inventory.example.yml").read_text(encoding="utf-8"))
    named = {name for group in groups.values() for name in group["vars"]}
    files = (ANSIBLE / "roles").glob("*/defaults/main.yml")
    assert named <= {name for path in files for name in yaml.safe_load(path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("name", ["back-up.sh", "restore.sh"])
def test_the_scripts_copy_with_an_image_that_is_there(name):
    used = re.findall(r"influxdb:\S+", (ROOT / "deploy" / name).read_text(encoding="utf-8"))
    assert used == [SERVICES["influxdb"]["image"]]
