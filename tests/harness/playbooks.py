"""The playbooks of deploy/ansible, run on this machine."""

import re
import sys
from pathlib import Path

import yaml

from tests.harness.compose_file import ROOT
from tests.harness.processes import run

RECAP = re.compile(r"^here +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0 ", re.MULTILINE)


def write_inventory(folder, group, **values):
    """An inventory whose one machine is this one."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    path = folder / "inventory.yml"
    path.write_text(yaml.safe_dump({group: {"hosts": {"here": here}, "vars": values}}))
    return path


def play(inventory, environment, playbook, *options):
    """How many tasks of a playbook changed something, and all that it printed. Fails when one failed."""
    program = Path(sys.executable).with_name("ansible-playbook")
    own = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(inventory.parent / "ansible"), "LC_ALL": "C.UTF-8"}
    words = (program, "--inventory", inventory, ROOT / "deploy" / "ansible" / f"{playbook}.yml", *options)
    ran = run(*words, env={**environment, **own}, timeout=3600)
    recap = RECAP.search(ran.stdout)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert recap, ran.stdout[-6000:]
    return int(recap[1]), ran.stdout
