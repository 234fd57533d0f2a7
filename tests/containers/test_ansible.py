"""deploy/ansible on this machine: each playbook of the Docker host, run for real against the engine of these tests.

The tests go on where the one before them ended.
"""

import os
import re
from pathlib import Path

import pytest
import yaml

from tests.containers.project import ROOT, Project, checkout, play, write_inventory
from tests.containers.test_own_region import calls, send
from tests.harness.processes import commit_all, git, run_python

pytestmark = pytest.mark.nightly
BOUNDS, PER_DAY = "41.64,-87.95,42.03,-87.52", "theft=60"
CHANGED = "streaming/flow/rows.py"


@pytest.fixture(scope="module")
def site(client, tmp_path_factory):
    """A repository with what this checkout holds, artifacts of a region, and a project that nobody has cloned yet."""
    folder = tmp_path_factory.mktemp("ansible")
    commit_all(checkout(folder / "repository"))
    words = ("train", "--region", "mycity", "--timezone", "America/Chicago", "--cell-m", "1000")
    words += ("--bounds", BOUNDS, "--per-day", PER_DAY, "--out", folder / "artifacts")
    trained = run_python("-m", "incident_risk", *words, cwd=ROOT)
    assert trained.returncode == 0, trained.stderr
    write_inventory(
        folder,
        "scorers",
        scorer_folder=str(folder / "product"),
        scorer_repository=str(folder / "repository"),
        scorer_version=git(folder / "repository", "branch", "--show-current"),
        scorer_artifacts=str(folder / "artifacts"),
        scorer_settings={"SCORER_ARTIFACTS": "./data/artifacts"},
    )
    yield Project(folder=folder / "product", environment=client)
    if (folder / "product").exists():
        Project(folder=folder / "product", environment=client).compose("down", "--volumes", "--timeout", "20")


def changed(project, playbook, *options):
    return play(project.folder.parent / "inventory.yml", project.environment, playbook, *options)[0]


def commit_of(project):
    return git(project.folder, "rev-parse", "HEAD")


def last_line_scored_with(project):
    return project.compose("exec", "scorer", "tail", "--lines", "1", f"/opt/product/{CHANGED}").strip()


def test_a_rehearsal_says_that_an_engine_would_be_installed(tmp_path):
    if not Path("/usr/lib/python3/dist-packages/apt").is_dir():
        pytest.skip("no python3-apt on this machine")
    here = write_inventory(tmp_path, "scorers", scorer_folder=str(tmp_path / "product"), scorer_repository=str(ROOT))
    nowhere = os.environ | {"DOCKER_HOST": f"unix://{tmp_path}/none"}
    options = ("--check", "--extra-vars", '{"engine_packages": ["cowsay"]}')
    system = ("--extra-vars", "ansible_python_interpreter=/usr/bin/python3")
    count, printed = play(here, nowhere, "site", *options, *system)
    assert re.search(r"^TASK \[engine : Install one\] \*+\nchanged: ", printed, re.MULTILINE), printed
    assert (count, (tmp_path / "product").exists()) == (2, False)


def test_a_rehearsal_on_a_new_machine_changes_nothing(site):
    assert changed(site, "site", "--check") == 1
    assert not site.folder.exists()


def test_it_installs_and_a_second_run_changes_nothing(site, record_property):
    assert changed(site, "site") == 5
    record_property("all well after another, s", round(site.wait_until_well()))
    send(*calls(50))
    site.wait_for_consumed(50)
    before = site.containers()
    assert changed(site, "site") == 0
    assert changed(site, "site", "--check") == 0
    assert changed(site, "update") == 0
    after = site.containers()
    assert {name: after[name]["Id"] for name in after} == {name: before[name]["Id"] for name in before}


def test_a_changed_setting_reaches_the_scorer_and_leaves_kafka_and_the_store_alone(site):
    before = site.containers()
    settings = {"SCORER_ARTIFACTS": "./data/artifacts", "RISK_TOP_K": "9"}
    options = ("--extra-vars", yaml.safe_dump({"scorer_settings": settings}, default_flow_style=True, width=1000))
    assert changed(site, "site", *options) == 2
    site.wait_until_well()
    after = site.containers()
    others = {name for name in before if before[name]["Id"] != after[name]["Id"]}
    assert others == {"scorer", "serve", "feedback", "watch"}  # Compose renews who depends on it, too
    assert changed(site, "site") == 2
    site.wait_until_well()


def test_tokens_are_replaced_and_the_old_ones_are_refused(site):
    old = {of: site.token(of) for of in ("scorer", "grafana")}
    assert changed(site, "rotate-tokens") == 1
    site.wait_until_well()
    for of, token in old.items():
        assert site.token(of) != token
        assert site.store(token).request("POST", "/write?db=risk", body=b"x y=1").status == 401
    site.wait_for_new_scores()


def test_what_was_backed_up_is_there_again_after_a_restore(site):
    assert changed(site, "back-up", "--check") == 0
    assert changed(site, "back-up") == 1
    site.wait_until_well()
    send(*calls(20))
    site.wait_for_consumed(70)
    assert changed(site, "restore", "--check") == 0
    assert changed(site, "restore") == 1
    site.wait_until_well()
    site.wait_for_consumed(50)
    site.wait_for_new_scores()


def test_an_update_scores_with_the_new_version(site, record_property):
    old, source = commit_of(site), site.folder.parent / "repository"
    (source / CHANGED).write_text((source / CHANGED).read_text() + "# a change\n")
    git(source, "commit", "--quiet", "--all", "--message", "second")
    assert changed(site, "site") == 0
    assert changed(site, "update", "--check") == 1
    assert commit_of(site) == old
    assert changed(site, "update") == 4
    site.wait_until_well()
    assert commit_of(site) == git(source, "rev-parse", "HEAD")
    assert last_line_scored_with(site) == "# a change"
    assert changed(site, "update") == 0
    send(*calls(10))
    site.wait_for_consumed(60)


def test_the_way_back_loses_nothing(site):
    new = commit_of(site)
    assert changed(site, "roll-back", "--check") == 0
    assert changed(site, "roll-back") == 3
    site.wait_until_well()
    assert commit_of(site) == git(site.folder, "rev-parse", "before") != new
    assert last_line_scored_with(site) != "# a change"
    assert changed(site, "roll-back") == 0
    send(*calls(10))
    site.wait_for_consumed(70)
