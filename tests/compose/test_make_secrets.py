"""`make secrets`: files that only their owner reaches, made once."""

import subprocess
from hashlib import sha256

import pytest

from service.tokens import make_token, read_tokens
from tests.harness.compose_file import ROOT

SCRIPT = ROOT / "deploy" / "make-secrets.sh"


def make(folder):
    return subprocess.run(["/bin/sh", SCRIPT, folder], check=True, capture_output=True, text=True).stdout


def test_secrets_are_drawn_and_never_shown(tmp_path):
    contents = []
    for name in ("one", "two"):
        said = make(tmp_path / name)
        secrets = {
            path.name: path.read_text()
            for path in (tmp_path / name).iterdir()
            if path.name.startswith(("i", "grafana_ad"))
        }
        assert len(secrets) == 3
        assert all(len(value) == 48 and int(value, 16) >= 0 for value in secrets.values())
        assert not any(value in said for value in secrets.values())
        contents += secrets.values()
    assert len(set(contents)) == 6


def test_a_secret_that_is_there_stays(tmp_path):
    folder = tmp_path / "secrets"
    make(folder)
    (folder / "grafana_alert_webhook").write_text("https://example.org/hook")
    (folder / "grafana_admin_password").unlink()
    (folder / "service" / "tokens").write_text("")  # every token was taken out of it
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    said = make(folder)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert set(after) - set(before) == {folder / "grafana_admin_password"}
    assert {name: after[name] for name in before} == before
    assert said.count("is there already") == 4
    assert "alerts reach nobody" not in said


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_first_token_that_is_made_again_opens_and_takes_the_place_of_the_one_before(tmp_path, umask):
    tokens = tmp_path / "service" / "tokens"

    def again():
        subprocess.run(["/bin/sh", SCRIPT, tmp_path], check=True, capture_output=True, umask=umask)
        make_token(tokens, "cad", [])
        assert tokens.parent.stat().st_mode & 0o777 == 0o755
        assert tokens.stat().st_mode & 0o777 == 0o644, "the service's user reads it"
        return {caller.name: caller.sha256 for caller in read_tokens(tokens)}

    before = again()
    (tmp_path / "service_token").unlink()
    after = again()
    assert set(before) == set(after) == {"first", "cad"}
    assert after["first"] == sha256((tmp_path / "service_token").read_bytes()).hexdigest() != before["first"]


def test_it_says_that_alerts_reach_nobody_until_a_webhook_is_set(tmp_path):
    for _ in range(2):
        (line,) = (line for line in make(tmp_path / "secrets").splitlines() if "alerts reach nobody" in line)
        assert str(tmp_path / "secrets" / "grafana_alert_webhook") in line


def test_only_the_owner_enters_the_folder_and_git_sees_nothing(tmp_path):
    folder = tmp_path / "secrets"
    make(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    # A container's user is another one than the owner, and reads the file through its mount.
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.name != ".gitignore"}
    assert modes.pop("service") == 0o755  # of which the service mounts the whole
    assert modes.pop("grafana_alert_webhook") == 0o644  # its owner writes the address into it
    assert modes.pop("service_token") == 0o400  # no container reads it
    assert set(modes.values()) == {0o444}
    assert (folder / ".gitignore").read_text() == "*\n"
