"""The `prepare` command: fetches Spark's jars, and stores Java's classes in a file as they lie in memory.

A start of Spark loads thousands of classes out of jars and checks each; Java's class data sharing takes them from one
file. Java ignores a file that was written by another Java or for other jars, and then starts without one.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from schemas.errors import PipelineError
from streaming.job.jars import class_archive, fetched_jars, java_version, keep_class_archive, needed_packages
from streaming.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_EXIT_S = 120


def prepare(context: typer.Context) -> None:
    """Fetch Spark's jars and archive Java's classes. Later starts need no network and are some seconds shorter."""
    settings: Settings = context.obj()
    console = Console(highlight=False)
    with console.status("starting Spark once (the first time fetches 60 MB of jars) ..."):
        archive = class_archive_of(settings, settings.cache.expanduser() / "prepare.log")
    console.print(f"{archive}: {archive.stat().st_size / 1e6:.0f} MB", soft_wrap=True)


def class_archive_of(settings: Settings, log: Path) -> Path:
    """Path of the archive, which is written if it does not exist. Raises PipelineError when Java wrote none."""
    from pyspark import SparkContext  # a second that other commands save

    from streaming.job.session import start_session

    java_version()
    has_jars = fetched_jars(settings.cache, needed_packages(settings.checkpoint, settings.spark_state))
    if has_jars and (there := class_archive(settings.cache)):
        return there
    cache = settings.cache.expanduser()
    with tempfile.TemporaryDirectory(dir=cache, prefix="preparing-") as name:
        written = Path(name, "written.jsa")
        session = start_session(settings, log, classes_into=written)
        _use(session, Path(name))
        session.stop()
        gateway = SparkContext._gateway
        gateway.shutdown()
        gateway.proc.stdin.close()  # Java ends, and writes the archive at its end
        gateway.proc.wait(_EXIT_S)
        SparkContext._gateway = SparkContext._jvm = None
        if not written.is_file():
            raise PipelineError("Java wrote no class archive", f"see {log}; starts work without it, but take longer")
        return keep_class_archive(cache, written)


def _use(session: "SparkSession", folder: Path) -> None:
    """Run a streaming query with state, so that Java loads the classes that one needs."""
    texts = folder / "texts"
    texts.mkdir()
    (texts / "one.txt").write_text("a\nb\n")
    counts = (
        session.readStream.text(str(texts)).mapInArrow(lambda batches: batches, "value string").groupBy("value").count()
    )
    query = counts.writeStream.outputMode("update").foreachBatch(lambda rows, _: rows.toArrow())
    query.option("checkpointLocation", str(folder / "checkpoint")).trigger(availableNow=True).start().awaitTermination()
