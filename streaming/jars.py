"""Java, and jars that pip does not install: fetched once from Maven's central repository, and checked by sha256."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from ssl import SSLError
from typing import Literal, get_args
from urllib.error import URLError

import stamina

from schemas.errors import BrokerError, SettingsError, errors_in_one_line
from schemas.files import make_writable, write_errors

LISTED = Path(__file__).with_name("jars.sha256")
JarGroup = Literal["connector", "object-store", "broker"]
KAFKA_VERSION = "4.2.0"  # of the broker, and of the image in compose.yaml
OLDEST_JAVA = 17  # of Spark 4
_NEWER_JAVA = f"install Java {OLDEST_JAVA} (Debian: openjdk-17-jre-headless), and let JAVA_HOME or PATH lead to it"
_LOG_BACKEND = ("slf4j-api", "log4j-slf4j2-impl", "log4j-core", "log4j-api")
_AT_ONCE = 8  # a repository answers slowly, and there are 50 small jars
_TRIES, _TIMEOUT_S = 4, 60.0
_OF_THE_CONNECTION = (URLError, HTTPException, ConnectionError, TimeoutError, SSLError)  # others are of the disk


def needed_jars(checkpoint: Path, spark_state: str) -> list[JarGroup]:
    """Which jars a session needs beside pyspark's own."""
    from streaming.checkpoint import is_stored  # where the image fetches jars, little else of the product is

    return ["connector", "object-store"] if is_stored(checkpoint, spark_state) else ["connector"]


def listed_jars(groups: Sequence[JarGroup]) -> dict[str, str]:
    """Place in the repository -> sha256, of the jars of these groups."""
    jars: dict[str, str] = {}
    group = ""
    for line in LISTED.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"# \[(\S+)\]", line):
            group = heading[1]
        elif line and not line.startswith("#") and group in groups:
            digest, place = line.split()
            jars[place] = digest
    return jars


def missing_jars(cache: Path, groups: Sequence[JarGroup]) -> list[str]:
    """Places in the repository of what is not in the cache yet. A file comes there whole and checked, or not at all."""
    return [place for place in listed_jars(groups) if not _in_cache(cache, place).is_file()]


def fetch_jars(cache: Path, groups: Sequence[JarGroup]) -> list[Path]:
    """The jars of these groups; those that the cache lacks are fetched first, several at once.

    Processes that fetch at the same time put the same files there. Raises SettingsError when the cache must take them
    and cannot be written, when the repository cannot be reached, and when a jar is not the one that is listed.
    """
    jars = listed_jars(groups)
    if missing := missing_jars(cache, groups):
        with _cache_errors(cache):
            make_writable(_in_cache(cache, ""))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            address = central()
            list(pool.map(lambda place: _fetch(address + place, jars[place], _in_cache(cache, place)), missing))
    return [_in_cache(cache, place) for place in jars]


def _in_cache(cache: Path, place: str) -> Path:
    return cache.expanduser().resolve() / "jars" / place.rpartition("/")[2]


def central() -> str:
    """Address of Maven's central repository, as the Ivy inside pyspark has it. Raises BrokerError when it has none."""
    with zipfile.ZipFile(_pyspark_jar("ivy-[0-9]*.jar")) as jar:
        resolver = jar.read("org/apache/ivy/plugins/resolver/IBiblioResolver.class")
    if (address := re.search(rb"https://[\w./-]+/maven2/", resolver)) is None:
        raise BrokerError("pyspark's Ivy names no central repository", "install this project's pinned pyspark again")
    return address[0].decode()


def _fetch(address: str, digest: str, target: Path) -> None:
    with _cache_errors(target), tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as beside:
        part = Path(beside) / target.name
        try:
            for attempt in stamina.retry_context(on=_OF_THE_CONNECTION, attempts=_TRIES, timeout=None):
                with (
                    attempt,
                    urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer,  # noqa: S310 - our own
                    part.open("wb") as file,
                ):
                    shutil.copyfileobj(answer, file)  # which takes a connection that was cut for an end
                    if (size := file.tell()) != int(answer.headers.get("Content-Length", size)):
                        raise ConnectionError(f"cut off after {size} bytes")
        except _OF_THE_CONNECTION as error:
            raise SettingsError(
                f"{target.name} could not be fetched from {address} ({error})",
                remedy="check the connection (a proxy goes into HTTPS_PROXY) and try again, or copy the folder "
                f"{target.parent} from a machine that has it",
            ) from error
        with part.open("rb") as file:
            fetched = hashlib.file_digest(file, "sha256").hexdigest()
        if fetched != digest:
            raise SettingsError(
                f"{target.name} from {address} has the sha256 {fetched} in place of {digest}",
                remedy="it was changed on its way, or there: find out by whom before you go on",
            )
        part.replace(target)


def kafka_class_path(cache: Path) -> str:
    """Java class path of a Kafka broker that writes a log; fetches the broker's jars (43 MB) when they are missing.

    Kafka's dependencies name no log backend, so pyspark's comes first. Raises SettingsError when the fetch fails.
    """
    backend = [_pyspark_jar(f"{name}-[0-9]*.jar") for name in _LOG_BACKEND]
    return ":".join(map(str, (*backend, *fetch_jars(cache, ["broker"]))))


def java() -> str:
    """Path of the Java that Spark starts: that of JAVA_HOME, without it the one on PATH. Raises SettingsError."""
    home = os.environ.get("JAVA_HOME")  # noqa: TID251 - Spark, too, asks the environment
    launcher = shutil.which("java", path=f"{home}/bin" if home else None)
    if launcher is None:
        raise SettingsError(f"JAVA_HOME={home} has no bin/java" if home else "there is no `java` on PATH", _NEWER_JAVA)
    return launcher


def java_version() -> int:
    """The version of that Java. Raises SettingsError when it is too old: Spark would only say that Java ended."""
    launcher = java()
    output = subprocess.run([launcher, "-version"], capture_output=True, text=True, check=False, timeout=30).stderr
    match = re.search(r'version "(?:1\.)?(\d+)', output)
    number = int(match[1]) if match else 0
    if number < OLDEST_JAVA:
        fault = f"{launcher} is Java {number}" if number else f"{launcher} tells no version of Java"
        raise SettingsError(fault, _NEWER_JAVA)
    return number


def _pyspark_jar(pattern: str) -> Path:
    spec = find_spec("pyspark")  # found, not imported: importing pyspark takes a second
    folders = spec.submodule_search_locations if spec else None
    jars = sorted(jar for folder in folders or () for jar in Path(folder, "jars").glob(pattern))
    if not jars:
        raise BrokerError(f"pyspark's jars hold no {pattern}", remedy="install this project's pinned pyspark again")
    return jars[-1]


def _cache_errors(folder: Path) -> AbstractContextManager[None]:
    return write_errors(SettingsError, f"the cache {folder}", remedy="set RISK_CACHE to another folder")


def main(cache: str, *groups: str) -> None:
    """`python -m streaming.jars CACHE GROUP...`: the image fetches so what a start needs."""
    chosen: list[JarGroup] = [group for group in get_args(JarGroup) if group in groups]
    if len(chosen) != len(groups):
        raise SettingsError(f"{' '.join(groups)} are no groups of jars", f"choose of {', '.join(get_args(JarGroup))}")
    fetch_jars(Path(cache), chosen)


if __name__ == "__main__":
    with errors_in_one_line():
        main(*sys.argv[1:])
