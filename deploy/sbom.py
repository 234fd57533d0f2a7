"""The bill of materials: every Python package and every jar of this installation, in CycloneDX's JSON.

CycloneDX's own program lists the packages; the jars, which no Python program lists, are added with their sha256.
`make sbom` installs what it needs and runs it.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from schemas.errors import RiskError, errors_in_one_line
from streaming.settings import Settings

_JAR_NAME = re.compile(r"(.+?)-(\d[\w.+-]*)\.jar")
_POM = re.compile(r"META-INF/maven/([^/]+)/([^/]+)/pom\.properties")

Json = dict[str, Any]


def bill_of_materials(cache: Path, lister: str = sys.executable) -> Json:
    """CycloneDX document of the running Python's packages, pyspark's jars, and the jars fetched into `cache`.

    lister: a Python with the library that lists packages; another one than ours is not listed itself. Raises RiskError
    when the library is not installed, or fails.
    """
    if lister == sys.executable and find_spec("cyclonedx_py") is None:
        raise RiskError("the bill of materials needs cyclonedx-bom", "run `make sbom`, which installs it")
    options = ["environment", "--output-reproducible", "--no-validate", sys.executable]
    command = [lister, "-m", "cyclonedx_py", *options]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if ran.returncode != 0:
        raise RiskError(f"cyclonedx-py failed: {ran.stderr.decode(errors='replace').strip()[-500:]}")
    document: Json = json.loads(ran.stdout)
    return with_jars(document, [*fetched_jars(cache), *pyspark_jars()])


def with_jars(document: Json, jars: list[Json]) -> Json:
    """The document with components for jars, each content once, in the order of their references."""
    by_reference = {jar["bom-ref"]: jar for jar in jars}
    return {**document, "components": [*document["components"], *(by_reference[ref] for ref in sorted(by_reference))]}


def fetched_jars(cache: Path) -> Iterator[Json]:
    """The jars that Ivy fetched: Kafka's broker and Spark's Kafka connector, with what they need."""
    for path in sorted(cache.expanduser().glob("ivy/cache/*/*/*/*.jar")):
        group, name = path.parts[-4:-2]
        yield jar_component(path, name=name, version=path.stem.removeprefix(f"{name}-"), group=group)


def pyspark_jars() -> Iterator[Json]:
    """The jars that came inside pyspark."""
    spec = find_spec("pyspark")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in sorted(Path(folder, "jars").glob("*.jar")):
            match = _JAR_NAME.fullmatch(path.name)
            name, version = (match[1], match[2]) if match else (path.stem, "unknown")
            yield jar_component(path, name=name, version=version, group=_group_within(path))


def jar_component(path: Path, *, name: str, version: str, group: str | None) -> Json:
    """A jar as a component, with the sha256 of its bytes; without its Maven group it has no package URL."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    component: Json = {
        "type": "library",
        "bom-ref": f"jar:{path.name}:{digest[:16]}",
        "name": name,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }
    if group is None:
        return component
    return component | {"group": group, "purl": f"pkg:maven/{quote(group)}/{quote(name)}@{quote(version)}"}


def _group_within(path: Path) -> str | None:
    """The Maven group that a jar names inside; None where it names none or several."""
    with zipfile.ZipFile(path) as jar:
        groups = {match[1] for name in jar.namelist() if (match := _POM.fullmatch(name))}
    return groups.pop() if len(groups) == 1 else None


def main(
    out: Annotated[Path, typer.Option(help="Where to write the CycloneDX document")] = Path("out/sbom.json"),
    lister: Annotated[str, typer.Option(help="A Python with cyclonedx-bom; by default this one")] = sys.executable,
) -> None:
    """Write the bill of materials: Python packages and jars of this installation, in CycloneDX's JSON."""
    cache = Settings.from_environment(os.environ).cache  # noqa: TID251 - a command of its own
    console = Console(highlight=False)
    with console.status("listing packages and jars ..."):
        document = bill_of_materials(cache, lister)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    jars = sum(component["bom-ref"].startswith("jar:") for component in document["components"])
    console.print(f"{out}: {len(document['components']) - jars} Python packages, {jars} jars", soft_wrap=True)
    if not (cache.expanduser() / "ivy").is_dir():
        console.print(f"no jars of Kafka in {cache} yet: they are fetched at the first start", soft_wrap=True)


if __name__ == "__main__":
    with errors_in_one_line():
        typer.run(main)
