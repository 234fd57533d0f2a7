"""`make secrets`: files that only their owner reaches, made once."""

import subprocess

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
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    said = make(folder)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(after) - set(before) == {"grafana_admin_password"}
    assert {name: after[name] for name in before} == before
    assert said.count("is there already") == 5
    assert "alerts reach nobody" not in said


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
    assert modes.pop("grafana_alert_webhook") == 0o644  # its owner writes the address into it
    assert modes.pop("service_token") == 0o400  # no container reads it
    assert set(modes.values()) == {0o444}
    assert (folder / ".gitignore").read_text() == "*\n"
