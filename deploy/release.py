"""A release: wheel and sdist of what is committed, tried where the checkout cannot help, with their checksums.

`make release` runs it. It signs nothing, because it has no key: who publishes the files signs them.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from schemas import DISTRIBUTION
from schemas.errors import RiskError, errors_in_one_line

ROOT = Path(__file__).parents[1]
OUT = ROOT / "out" / "release"
HASHES = ROOT / "constraints-hashes.txt"
UV = Path(sys.executable).with_name("uv")
SUMS = "SHA256SUMS"
_COMMANDS = (
    ("--version",),
    ("--help",),
    ("train", "--help"),
    ("serve", "--help"),
    ("watch", "--help"),
    ("check", "event.json"),
    ("cells", "--out", "cells"),
)


def version_to_release(root: Path) -> str:
    """The version that pyproject.toml names. Raises RiskError when it cannot be released as the tree is."""
    version = str(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
    if changed := _git(root, "status", "--porcelain"):
        raise RiskError(f"this is not committed: {', '.join(changed.splitlines())}", "commit it, or take it away")
    if not changelog_entry((root / "CHANGELOG.md").read_text(encoding="utf-8"), version):
        raise RiskError(
            f"CHANGELOG.md says nothing of {version}, the version of pyproject.toml",
            f"write it below a heading `## [{version}] - YYYY-MM-DD`",
        )
    tags = [tag for tag in _git(root, "tag", "--points-at", "HEAD").split() if re.match(r"v\d", tag)]
    if tags and f"v{version}" not in tags:
        raise RiskError(f"the commit has the tag {', '.join(tags)} and the version {version}", "tag the right commit")
    return version


def changelog_entry(text: str, version: str) -> str:
    """What stands below the heading `## [VERSION] - YYYY-MM-DD`; empty when there is nothing."""
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    entry = re.search(rf"{heading}(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return entry[1].strip() if entry else ""


def build(root: Path, out: Path) -> list[Path]:
    """The sdist, and the wheel that is built from it, as new files of `out`. Equal commits give equal bytes."""
    shutil.rmtree(out, ignore_errors=True)
    committed_s = _git(root, "show", "--no-patch", "--format=%ct", "HEAD")
    words = ("build", "--quiet", "--out-dir", out, "--build-constraints", HASHES, "--require-hashes", root)
    _run(UV, *words, cwd=root, environment={**os.environ, "SOURCE_DATE_EPOCH": committed_s})  # noqa: TID251
    return sorted(path for path in out.iterdir() if path.suffix in (".whl", ".gz"))


def try_wheel(wheel: Path, version: str, folder: Path, *, now: datetime) -> None:
    """Install the wheel into a new environment in `folder`, and run commands there. Raises RiskError."""
    _run(UV, "venv", "--quiet", "--python", sys.executable, folder / "environment", cwd=folder)
    python = folder / "environment" / "bin" / "python"
    _run(UV, "pip", "install", "--quiet", "--python", python, "--constraints", HASHES, wheel, cwd=folder)
    try_commands(python, version, folder, now=now)


def try_commands(python: Path, version: str, folder: Path, *, now: datetime) -> None:
    """Run commands of the product that `python` has installed, in `folder` and without our environment."""
    (folder / "event.json").write_text(json.dumps(sample_event(now)), encoding="utf-8")
    environment = {"PATH": os.defpath, "HOME": str(folder), "TERM": "dumb"}
    where = "import streaming.rehearse.incident_replay as it; print(it.ARTIFACTS)"
    environment["RISK_ARTIFACTS"] = _run(python, "-c", where, cwd=folder, environment=environment)
    for words in _COMMANDS:
        printed = _run(python, "-m", "incident_risk", *words, cwd=folder, environment=environment)
        if words == ("--version",) and printed != f"{DISTRIBUTION} {version}":
            raise RiskError(f"`risk --version` of the wheel says {printed}, not {version}")


def sample_event(now: datetime) -> dict[str, str | float]:
    """An event that the bundled region counts."""
    return {
        "incident_id": "release:1",
        "region": "montgomery",
        "occurred_at": now.isoformat(timespec="seconds"),
        "category": "fire",
        "lat": 40.12,
        "lon": -75.34,
        "origin": "public_call",
    }


def write_sums(files: list[Path]) -> str:
    """The sha256 of each file, as `sha256sum --check` reads them; also written beside the files."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    files[0].with_name(SUMS).write_text("".join(lines), encoding="utf-8")
    return "".join(lines)


def _git(root: Path, *words: str) -> str:
    return _run("git", *words, cwd=root)


def _run(*words: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """What a program printed, without the last line break. Raises RiskError when it failed."""
    command = [str(word) for word in words]
    ran = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if ran.returncode != 0:
        said = (ran.stderr or ran.stdout).strip()[-2000:]
        raise RiskError(f"`{' '.join(command)}` ended with {ran.returncode}: {said}")
    return ran.stdout.strip()


def main() -> None:
    """Build, try and sum up."""
    console = Console(highlight=False, soft_wrap=True)
    version = version_to_release(ROOT)
    files = build(ROOT, OUT)
    (wheel,) = (path for path in files if path.suffix == ".whl")
    with tempfile.TemporaryDirectory() as folder, console.status("the wheel in a clean environment ..."):
        try_wheel(wheel, version, Path(folder), now=datetime.now(UTC))
    console.print(write_sums(files), end="")
    console.print(f"{OUT.relative_to(ROOT)}: version {version}, tried in a clean environment, not signed")
    console.print(f"Sign {SUMS} with a key of yours, and tag this commit v{version}.")


if __name__ == "__main__":
    with errors_in_one_line():
        main()
