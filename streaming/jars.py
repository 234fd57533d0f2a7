"""Java, and jars that pip does not install: fetched once, by the Ivy inside pyspark, into the cache folder."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from importlib.util import find_spec
from pathlib import Path

from schemas.errors import BrokerError, SettingsError
from schemas.files import exclusive, make_writable, replace_file, write_errors

KAFKA_VERSION = "4.2.0"  # the version whose Spark connector we run against
CONNECTOR = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"  # 4.2.1's was not available
OLDEST_JAVA = 17  # of Spark 4
OBJECT_STORE_CLIENT = "org.apache.hadoop:hadoop-aws:3.5.0"  # the version of pyspark's Hadoop
_NEWER_JAVA = f"install Java {OLDEST_JAVA} (Debian: openjdk-17-jre-headless), and let JAVA_HOME or PATH lead to it"
_LOG_BACKEND = ("slf4j-api", "log4j-slf4j2-impl", "log4j-core", "log4j-api")
_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true"/></resolvers>
</ivysettings>
"""


def ivy_settings(cache: Path) -> Path:
    """Path of an Ivy settings file that asks the central repository only, for `spark.jars.ivySettings`.

    Spark's own default asks a second repository at every start, also when every jar is already here.
    """
    path = _folder(cache) / "ivysettings.xml"
    if not path.is_file() or path.read_text(encoding="utf-8") != _SETTINGS:
        path.write_text(_SETTINGS, encoding="utf-8")
    return path


def ivy_folder(cache: Path) -> Path:
    """Folder for `spark.jars.ivy`; the broker's jars use the same one, so shared jars are fetched once."""
    return _folder(cache) / "ivy"


def jar_options(cache: Path, packages: Sequence[str]) -> dict[str, str]:
    """Spark's options for the jars of `packages`: those of an earlier start, or the order to fetch them.

    Asking Ivy takes seconds of every start, also when every jar is already here.
    """
    if jars := fetched_jars(cache, packages):
        return {"spark.jars": ",".join(map(str, jars))}
    return {
        "spark.jars.packages": ",".join(packages),
        "spark.jars.ivySettings": str(ivy_settings(cache)),
        "spark.jars.ivy": str(ivy_folder(cache)),
    }


def needed_packages(checkpoint: Path, spark_state: str) -> list[str]:
    """Maven coordinates of what a session needs beside pyspark's own jars."""
    from streaming.spark_folder import is_stored  # where the image fetches jars, little else of the product is

    return [CONNECTOR, OBJECT_STORE_CLIENT] if is_stored(checkpoint, spark_state) else [CONNECTOR]


def fetched_jars(cache: Path, packages: Sequence[str]) -> list[Path]:
    """The jars of an earlier start; none unless all are there. Raises SettingsError when the cache must take them first
    and cannot be written.
    """
    listed = _list_of_jars(cache, packages)
    jars = [ivy_folder(cache) / "jars" / name for name in listed.read_text().split()] if listed.is_file() else []
    if jars and all(jar.is_file() for jar in jars):
        return jars
    with _cache_errors(cache):
        make_writable(_folder(cache))
    return []


def alone_with_ivy(cache: Path) -> AbstractContextManager[None]:
    """Wait for another process that fetches jars into the cache: Ivy's folder allows one at a time."""
    return exclusive(_folder(cache) / "ivy.lock")


def keep_list_of_jars(cache: Path, packages: Sequence[str], places: Iterable[str]) -> None:
    """Note which jars Ivy has found. places: their addresses in the session."""
    names = [place.rpartition("/")[2] for place in places]
    with suppress(FileNotFoundError):  # another start was faster, with the same list
        replace_file(_list_of_jars(cache, packages), "\n".join(names).encode())


def _list_of_jars(cache: Path, packages: Sequence[str]) -> Path:
    return ivy_folder(cache) / f"{'+'.join(packages).replace(':', '_')}.jars"


def kafka_class_path(cache: Path) -> str:
    """Java class path of a Kafka broker that writes a log; fetches the broker's jars (43 MB) when they are missing.

    Kafka's dependencies name no log backend, so pyspark's comes first. Raises BrokerError when the fetch fails.
    """
    lib = _folder(cache) / f"kafka-{KAFKA_VERSION}" / "lib"
    if not lib.is_dir():
        _fetch_kafka(cache, lib.parent)
    backend = [_pyspark_jar(f"{name}-[0-9]*.jar") for name in _LOG_BACKEND]
    return ":".join(str(part) for part in (*backend, lib / "*"))


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


def _fetch_kafka(cache: Path, target: Path) -> None:
    """Fetch beside the target and rename at the end, so that an incomplete download is never used."""
    launcher = java()
    with tempfile.TemporaryDirectory(dir=_folder(cache), prefix="fetching-kafka-") as beside:
        whole = Path(beside) / "kafka"
        command = [launcher, "-jar", str(_pyspark_jar("ivy-[0-9]*.jar")), "-warn"]
        command += ["-settings", str(ivy_settings(cache)), "-cache", str(ivy_folder(cache) / "cache")]
        command += ["-dependency", "org.apache.kafka", "kafka_2.13", KAFKA_VERSION, "-types", "jar", "bundle"]
        command += ["-retrieve", f"{whole}/lib/[artifact]-[revision](-[classifier]).[ext]"]
        with alone_with_ivy(cache):
            ran = subprocess.run(
                command, cwd=beside, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
        if ran.returncode != 0 or not (whole / "lib" / f"kafka_2.13-{KAFKA_VERSION}.jar").is_file():
            raise BrokerError(
                f"Kafka {KAFKA_VERSION}'s jars could not be fetched (Ivy's exit code {ran.returncode})",
                remedy="check the connection to Maven's central repository (a proxy goes into JAVA_TOOL_OPTIONS) and "
                f"try again\n{last_lines(ran.stdout + ran.stderr)}",
            )
        if not target.exists():  # another process may have been faster; its jars are the same
            whole.rename(target)


def last_lines(text: str) -> str:
    """What a person needs of the output of a program that failed."""
    return "\n".join(text.strip().splitlines()[-15:])


def _pyspark_jar(pattern: str) -> Path:
    spec = find_spec("pyspark")  # found, not imported: importing pyspark takes a second
    folders = spec.submodule_search_locations if spec else None
    jars = sorted(jar for folder in folders or () for jar in Path(folder, "jars").glob(pattern))
    if not jars:
        raise BrokerError(f"pyspark's jars hold no {pattern}", remedy="install this project's pinned pyspark again")
    return jars[-1]


def _folder(cache: Path) -> Path:
    folder = cache.expanduser().resolve()
    with _cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cache_errors(folder: Path) -> AbstractContextManager[None]:
    return write_errors(SettingsError, f"the cache {folder}", remedy="set RISK_CACHE to another folder")
