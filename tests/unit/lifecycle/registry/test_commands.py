"""`python -m lifecycle registry`: what a person and a machine read, what is recorded, and how it ends."""

import json

import pytest
from typer.testing import CliRunner

from lifecycle.__main__ import app
from schemas.audit_verify import records
from schemas.errors import AuditError, RegistryError, SettingsError
from schemas.left_behind.pointer import Pointer, read_pointer
from tests.harness.registries import PAGE_FILES, Desk, evaluation_folder


@pytest.fixture
def desk(tmp_path):
    return Desk("folder", tmp_path)


@pytest.fixture
def run(desk, monkeypatch):
    """run("list", "--json"): what it printed; the error that it raised is raised."""
    monkeypatch.setenv("RISK_REGISTRY", str(desk.folder / "registry"))
    monkeypatch.setenv("RISK_ARTIFACTS", str(desk.artifacts))
    monkeypatch.setenv("RISK_AUDIT", str(desk.audit))

    def run(*words):
        done = CliRunner().invoke(app, ["registry", *words], catch_exceptions=True)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    return run


def test_register_promote_roll_back_and_what_each_says(desk, run):
    first, second = desk.make(2)
    for version in (first, second):
        assert f"version {version} is registered" in run("register", str(desk.made_folder(version)))
    assert run("promote", "toyville", first, "--because", "the first", "--by", "eve") == (
        f"toyville: champion {first}, challenger none\n"
    )
    said = run("promote", "toyville", second, "--because", "better", "--sync")
    assert f"toyville: copied and verified {second}" in said
    assert f"the pointer now names champion {second}, challenger none" in said
    listed = json.loads(run("list", "--json"))
    assert [(row["version"], row["role"]) for row in listed] == [(first, ""), (second, "champion")]
    assert first in run("list")
    run("rollback", "toyville", "--because", "a mistake", "--sync", "--by", "ann")
    assert read_pointer(desk.artifacts, "toyville") == Pointer(champion=first)
    assert "names already" in run("sync")
    assert json.loads(run("show", "toyville", "--json"))["version"] == first
    run("promote", "toyville", second, "--because", "again", "--as", "challenger")
    run("retire", "toyville", second, "--because", "no better")
    assert [row["role"] for row in json.loads(run("list", "toyville", "--json"))] == ["champion", "retired"]


def test_each_change_is_on_record_with_who_why_and_hash(desk, run):
    first, second = desk.make(2)
    for version in (first, second):
        run("register", str(desk.made_folder(version)), "--by", "eve")
    run("promote", "toyville", first, "--because", "the first", "--by", "eve", "--sync")
    run("promote", "toyville", second, "--because", "better", "--by", "ann")
    run("rollback", "toyville", "--because", "a mistake", "--by", "bob")
    run("retire", "toyville", second, "--because", "no use", "--by", "joe")
    digests = {row["version"]: row["manifest_sha256"] for row in json.loads(run("list", "--json"))}
    found = [
        (one.event, *(one.details[name] for name in ("version", "by", "because", "manifest_sha256")))
        for one in records(desk.audit.read_bytes())
    ]
    assert found == [
        (event, version, by, because, digests[version])
        for event, version, by, because in (
            ("model_registered", first, "eve", "register"),
            ("model_registered", second, "eve", "register"),
            ("model_promoted", first, "eve", "the first"),
            ("pointer_written", first, "eve", "the first"),
            ("model_promoted", second, "ann", "better"),
            ("model_rolled_back", first, "bob", "a mistake"),
            ("model_retired", second, "joe", "no use"),
        )
    ]


def test_nobody_changes_anything_without_a_reason_or_a_record(desk, run):
    (version,) = desk.make(1)
    run("register", str(desk.made_folder(version)))
    assert "Missing option" in run("promote", "toyville", version)
    with pytest.raises(SettingsError, match="--because is empty"):
        run("promote", "toyville", version, "--because", " ")
    desk.audit.unlink()
    desk.audit.mkdir()
    with pytest.raises(AuditError):
        run("promote", "toyville", version, "--because", "x")
    assert desk.state().champion is None


def test_a_region_that_cannot_be_synchronised_keeps_no_other_from_its_turn(desk, run):
    (one,), (other,) = desk.make(1, "aston"), desk.make(1)
    for region, version in (("aston", one), ("toyville", other)):
        run("register", str(desk.made_folder(version, region)))
        run("promote", region, version, "--because", "x")
    (desk.folder / "registry" / "aston" / one / "baseline.npz").write_bytes(b"damaged")
    with pytest.raises(RegistryError, match="not synchronised: aston") as failed:
        run("sync")
    assert failed.value.exit_code == 4
    assert read_pointer(desk.artifacts, "aston") is None
    assert read_pointer(desk.artifacts, "toyville") == Pointer(champion=other)
    with pytest.raises(RegistryError, match="not synchronised: bray"):
        run("sync", "bray")


@pytest.mark.parametrize("role", ["champion", "challenger"])
def test_a_state_that_names_a_version_it_does_not_have_is_an_error_with_a_remedy(desk, run, role):
    (version,) = desk.make(1)
    run("register", str(desk.made_folder(version)))
    run("promote", "toyville", version, "--because", "x", "--sync")
    path = desk.folder / "registry" / "toyville" / "state.json"
    state = json.loads(path.read_bytes()) | {role: "20200101T000000Z-00000000"}
    path.write_text(json.dumps(state), encoding="utf-8")
    commands = {"sync": ["toyville"], "list": ["toyville"], "rollback": ["toyville", "--because", "x"]}
    for name, words in commands.items():
        with pytest.raises(RegistryError) as caught:
            run(name, *words)
        assert name == "sync" or "is not among the registered versions" in str(caught.value), caught.value
        assert caught.value.remedy
    assert read_pointer(desk.artifacts, "toyville") == Pointer(champion=version)


def test_the_page_of_an_evaluation_is_kept_with_the_version(desk, run, tmp_path):
    (version,) = desk.make(1)
    made = str(desk.made_folder(version))
    with pytest.raises(RegistryError, match=r"has no index\.html"):
        run("register", made, "--evaluation", str(tmp_path))
    run("register", made, "--evaluation", str(evaluation_folder(tmp_path / "judged")))
    kept = desk.folder / "registry" / "toyville" / f"{version}.evaluation"
    assert sorted(path.name for path in kept.iterdir()) == PAGE_FILES
    assert (kept / "index.html").read_text(encoding="utf-8") == "index.html of a test"
    assert run("list") == run("list", "toyville")
    run("promote", "toyville", version, "--because", "x", "--sync")
    assert not list(desk.artifacts.rglob("*.evaluation"))


def test_show_verifies_what_it_shows(desk, run):
    (version,) = desk.make(1)
    run("register", str(desk.made_folder(version)))
    with pytest.raises(RegistryError, match="that is champion"):
        run("show", "toyville")
    assert "train a real one with `--like` this folder" in run("show", "toyville", version)
    (desk.folder / "registry" / "toyville" / version / "card.md").write_text("all is well")
    with pytest.raises(Exception, match=r"card\.md is damaged"):
        run("show", "toyville", version)


def test_an_address_with_a_login_is_refused(run):
    with pytest.raises(RegistryError, match="has a login in it"):
        run("list", "--registry", "mlflow:https://me:secret@mlflow.example.org")


@pytest.mark.parametrize("command", ["promote", "rollback"])
@pytest.mark.parametrize("spoilt", ["challenger", "champion"])
def test_a_change_with_sync_fails_as_sync_does_when_a_version_cannot_be_brought(desk, run, command, spoilt):
    first, second, third = desk.make(3)
    for version in (first, second, third):
        run("register", str(desk.made_folder(version)))
    for version in [first] if command == "promote" else [second, first]:
        run("promote", "toyville", version, "--because", "x")
    run("promote", "toyville", third, "--because", "x", "--as", "challenger")
    bad = third if spoilt == "challenger" else second
    (desk.folder / "registry" / "toyville" / bad / "baseline.npz").write_bytes(b"damaged")
    words = ["promote", "toyville", second] if command == "promote" else ["rollback", "toyville"]
    with pytest.raises(RegistryError, match="not synchronised: toyville") as failed:
        run(*words, "--because", "y", "--sync")
    assert failed.value.exit_code == 4
    assert desk.state().champion == second
    now = read_pointer(desk.artifacts, "toyville")
    assert now == (Pointer(champion=second) if spoilt == "challenger" else None)
