"""The commands on versions: what a person and a machine read, what is recorded, and how they end."""

import getpass
import json
import shutil

import pytest
from typer.testing import CliRunner

from incident_risk import app
from schemas.audit import records
from schemas.errors import AuditError, RegistryError, SettingsError, SpecMismatch
from schemas.records import Pointer
from streaming.artifacts_in_force import refresh_roster
from tests.harness.gate_town import command
from tests.harness.registries import PAGE_FILES, evaluation_folder
from tests.harness.toy import toy_artifact, toy_spec


@pytest.fixture
def run(desk):
    """run("versions", "--json"): what it printed; the error that it raised is raised."""
    environment = {
        "RISK_REGISTRY": str(desk.folder / "registry"),
        "RISK_ARTIFACTS": str(desk.artifacts),
        "RISK_AUDIT": str(desk.audit),
    }

    return lambda *words, **more: command(*words, **environment | more)


def roles(run, *words):
    return [(row["version"], row["role"]) for row in json.loads(run("versions", *words, "--json"))]


def test_promote_a_folder_a_version_and_the_way_back(desk, run):
    first, second = desk.make(2)
    assert run("promote", desk.made_folder(first), "--because", "the first") == (
        "toyville: compared with no job's grid: RISK_CHECKPOINT=data/checkpoint counts nothing of it\n"
        f"toyville: champion {first}, challenger none\n"
        f"toyville: copied and verified {first}\n"
        f"toyville: the pointer now names champion {first}, challenger none\n"
    )
    run("promote", desk.made_folder(second), "--because", "try it", "--as", "challenger")
    assert desk.pointer() == Pointer(champion=first, challenger=second)
    assert roles(run) == [(first, "champion"), (second, "challenger")]
    run("promote", f"toyville/{second}", "--because", "better")
    assert first in run("versions")
    run("rollback", "toyville", "--because", "a mistake")
    assert desk.pointer() == Pointer(champion=first)
    run("promote", f"toyville/{second}", "--because", "once more", "--as", "challenger")
    run("retire", f"toyville/{second}", "--because", "no better")
    assert desk.pointer() == Pointer(champion=first)  # it is scored no longer
    assert roles(run, "toyville") == [(first, "champion"), (second, "retired")]


@pytest.fixture
def finer(desk):
    """An artifact of the same region with another grid; its folder."""
    return toy_artifact(desk.made, toy_spec(4, 4, region="toyville"), created="20260103T000000Z")


def test_a_version_of_another_grid_than_the_jobs_counts_is_not_even_registered(desk, run, finer):
    (counted,) = desk.make(1)
    checkpoint = str(desk.folder / "checkpoint")
    said = run("promote", desk.made_folder(counted), "--because", "the first", RISK_CHECKPOINT=checkpoint)
    assert f"toyville: compared with no job's grid: RISK_CHECKPOINT={checkpoint} counts nothing of it" in said
    refresh_roster(desk.folder / "checkpoint" / "roster.json", desk.artifacts)
    before = desk.events()
    words = ["promote", finer, "--because", "smaller cells"]
    for role in ("champion", "challenger"):
        with pytest.raises(SpecMismatch, match=rf"{finer.name} has spec .* stored counts of toyville") as caught:
            run(*words, "--as", role, RISK_CHECKPOINT=checkpoint)
        assert caught.value.exit_code == 4
    assert (roles(run), desk.events()) == ([(counted, "champion")], before)
    desk.register(finer.name)
    with pytest.raises(SpecMismatch):
        run("promote", f"toyville/{finer.name}", "--because", "smaller cells", RISK_CHECKPOINT=checkpoint)
    assert desk.pointer() == Pointer(champion=counted)


@pytest.mark.parametrize("is_brought", [True, False])
def test_where_no_job_counts_the_grid_is_the_champions_until_a_reset(desk, run, finer, is_brought):
    """Nobody's counts are at hand, as on the machine of who trains."""
    (first,) = desk.make(1)
    anew = desk.folder / "anew"
    run("promote", desk.made_folder(first), "--because", "the first", RISK_CHECKPOINT=str(anew))
    if not is_brought:  # elsewhere
        shutil.rmtree(desk.artifacts)
    words = ["promote", finer, "--because", "smaller cells"]
    for role in ("champion", "challenger"):
        with pytest.raises(
            SpecMismatch, match=rf"{finer.name} has another spec than the champion {first} .*grid.rows was 3 and is 4"
        ) as no:
            run(*words, "--as", role, RISK_CHECKPOINT=str(anew))
        assert "train with `--like`" in no.value.remedy
    assert roles(run) == [(first, "champion")]
    begun = CliRunner().invoke(app, ["checkpoint", "--reset", "latest"], env={"RISK_CHECKPOINT": str(anew)})
    assert begun.exit_code == 0, begun.output
    run(*words, RISK_CHECKPOINT=str(anew))
    assert roles(run)[1] == (finer.name, "champion")
    run("rollback", "toyville", "--because", "back", RISK_CHECKPOINT=str(anew))


def test_a_champion_that_is_damaged_keeps_no_other_version_from_its_place(desk, run):
    first, second = desk.make(2)
    run("promote", desk.made_folder(first), "--because", "the first")
    for home in (desk.artifacts, desk.folder / "registry"):
        (home / "toyville" / first / "manifest.json").write_bytes(b"{")
    assert "compared with no job's grid" in run("promote", desk.made_folder(second), "--because", "whole")


def test_promotion_of_a_region_brings_its_versions_again(desk, run):
    (version,) = desk.make(1)
    run("promote", desk.made_folder(version), "--because", "the first")
    (desk.artifacts / "toyville" / version / "card.md").write_text("spoilt")
    (desk.artifacts / "toyville" / "pointer.json").unlink()
    said = run("promote", "toyville", "--because", "a disk was lost")
    assert f"copied and verified {version}" in said
    assert f"now names champion {version}" in said
    assert "names already" in run("promote", "toyville", "--because", "again")
    with pytest.raises(RegistryError, match=r"bray has no champion.*promote bray/VERSION"):
        run("promote", "bray", "--because", "x")


def test_each_change_is_on_record_with_who_why_and_hash(desk, run):
    first, second = desk.make(2)
    run("promote", desk.made_folder(first), "--because", "the first", RISK_BY="eve")
    run("promote", desk.made_folder(second), "--because", "better", RISK_BY="ann")
    run("rollback", "toyville", "--because", "a mistake", RISK_BY="bob")
    run("retire", f"toyville/{second}", "--because", "no use")
    digests = {row["version"]: row["manifest_sha256"] for row in json.loads(run("versions", "--json"))}
    noted = [
        (entry.event, *(entry.details[name] for name in ("version", "by", "because", "manifest_sha256")))
        for entry in records(desk.audit.read_bytes())
    ]
    assert noted == [
        (event, version, by, because, digests[version])
        for event, version, by, because in (
            ("model_registered", first, "eve", "the first"),
            ("model_promoted", first, "eve", "the first"),
            ("pointer_written", first, "eve", "the first"),
            ("model_registered", second, "ann", "better"),
            ("model_promoted", second, "ann", "better"),
            ("pointer_written", second, "ann", "better"),
            ("model_rolled_back", first, "bob", "a mistake"),
            ("pointer_written", first, "bob", "a mistake"),
            ("model_retired", second, getpass.getuser(), "no use"),
        )
    ]


def test_nobody_changes_anything_without_a_reason_a_name_or_a_record(desk, run, monkeypatch):
    (version,) = desk.make(1)
    folder = desk.made_folder(version)
    with pytest.raises(AssertionError, match="Missing option"):
        run("promote", folder)
    with pytest.raises(SettingsError, match="--because is empty"):
        run("promote", folder, "--because", " ")
    monkeypatch.setattr("getpass.getuser", lambda: {}["nobody"])
    with pytest.raises(SettingsError, match="set RISK_BY"):
        run("promote", folder, "--because", "x")
    monkeypatch.undo()
    desk.audit.mkdir()
    with pytest.raises(AuditError):
        run("promote", folder, "--because", "x")
    assert desk.state().manifests == {}


@pytest.mark.parametrize("what", ["../made", "Toyville", "toyville/20260101T000000Z-00000000/x", "data/artifacts/toy"])
def test_what_is_neither_a_folder_nor_a_version_is_refused_nor_an_address_with_a_login(run, what):
    with pytest.raises(RegistryError, match=r"neither REGION/VERSION nor a folder with manifest\.json"):
        run("promote", what, "--because", "x")
    with pytest.raises(RegistryError, match="has a login in it") as refused:
        run("versions", RISK_REGISTRY="mlflow:https://me:secret@mlflow.example.org")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("role", ["champion", "challenger"])
def test_a_state_that_names_a_version_it_does_not_have_is_an_error_with_a_remedy(desk, run, role):
    (version,) = desk.make(1)
    run("promote", desk.made_folder(version), "--because", "x")
    path = desk.folder / "registry" / "toyville" / "state.json"
    state = json.loads(path.read_bytes()) | {role: "20200101T000000Z-00000000"}
    path.write_text(json.dumps(state), encoding="utf-8")
    for words in (["promote", "toyville", "--because", "x"], ["versions"], ["rollback", "toyville", "--because", "x"]):
        with pytest.raises(RegistryError, match="is not among the registered versions") as caught:
            run(*words)
        assert caught.value.remedy
    assert desk.pointer() == Pointer(champion=version)


def test_the_page_of_an_evaluation_is_kept_with_the_version(desk, run, tmp_path):
    (version,) = desk.make(1)
    folder, pages = desk.made_folder(version), desk.folder / "registry" / "toyville" / f"{version}.evaluation"
    with pytest.raises(RegistryError, match=r"has no index\.html"):
        run("promote", folder, "--because", "x", "--evaluation", tmp_path)
    judged = evaluation_folder(tmp_path / "judged")
    run("promote", folder, "--because", "x")
    run("promote", folder, "--because", "judged later", "--evaluation", judged)
    assert sorted(path.name for path in pages.iterdir()) == PAGE_FILES
    assert (pages / "index.html").read_text(encoding="utf-8") == "index.html of a test"
    assert run("versions") == run("versions", "toyville")
    assert not list(desk.artifacts.rglob("*.evaluation"))
    with pytest.raises(RegistryError, match="give an artifact's folder"):
        run("promote", f"toyville/{version}", "--because", "x", "--evaluation", judged)


def test_one_version_is_verified_before_it_is_shown(desk, run):
    (version,) = desk.make(1)
    run("promote", desk.made_folder(version), "--because", "x")
    with pytest.raises(RegistryError, match="has no version 20200101T000000Z-00000000"):
        run("versions", "toyville/20200101T000000Z-00000000")
    assert "train a real one with `--like` this folder" in run("versions", f"toyville/{version}")
    shown = json.loads(run("versions", f"toyville/{version}", "--json"))
    assert (shown["version"], shown["role"], shown["champions_before"]) == (version, "champion", [])
    (desk.folder / "registry" / "toyville" / version / "card.md").write_text("all is well")
    with pytest.raises(Exception, match=r"card\.md is damaged"):
        run("versions", f"toyville/{version}")


@pytest.mark.parametrize("command", ["promote", "rollback"])
@pytest.mark.parametrize("spoilt", ["challenger", "champion"])
def test_a_change_ends_with_an_error_when_a_version_cannot_be_brought_to_the_job(desk, run, command, spoilt):
    """What the registry has changed does not get there: the pointer names what scored before."""
    first, second, third = desk.registered(3)
    for version in [first] if command == "promote" else [second, first]:
        desk.promote(version)
    desk.sync()
    desk.promote(third, "challenger")
    bad = third if spoilt == "challenger" else second
    (desk.folder / "registry" / "toyville" / bad / "baseline.npz").write_bytes(b"damaged")
    words = ["promote", f"toyville/{second}"] if command == "promote" else ["rollback", "toyville"]
    with pytest.raises(Exception, match=r"baseline\.npz is damaged") as failed:
        run(*words, "--because", "y")
    assert failed.value.exit_code == 4
    assert desk.state().champion == (second if spoilt == "challenger" else first)
    assert desk.pointer() == Pointer(champion=second if spoilt == "challenger" else first)
