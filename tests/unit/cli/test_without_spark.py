"""`check` and `rebuild` import no Spark: they start in a second and need no Java."""

import os

import msgspec
import pytest

from streaming.disk.guard import CheckpointGuard
from streaming.settings import Settings
from tests.harness.kept_world import KeptWorld
from tests.harness.processes import run_python
from tests.harness.toy import toy_spec

COMMAND = """
import sys
from streaming.__main__ import main

try:
    main()
finally:
    print("Spark was imported:", "pyspark" in sys.modules)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a checkpoint, its artifacts and a file of messages."""
    folder = tmp_path_factory.mktemp("kept")
    world = KeptWorld(folder, toy_spec())
    for clock_s in (1_700_000_000, 1_700_000_060):
        world.batch(clock_s, scores="0" * 16)
    guard = CheckpointGuard.of(Settings(clock="event"), "5f0c")
    (folder / "checkpoint" / "guard.json").write_bytes(msgspec.json.encode(guard))
    (folder / "night.jsonl").write_text('{"region": "elsewhere"}\n', encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("words", "code", "output"),
    [
        (("check", "night.jsonl"), 3, "1 message for toyville: 1 refused"),
        (("rebuild", "--from", "earliest", "--to", "latest"), 5, "no Kafka broker listens"),
    ],
    ids=["check", "rebuild"],
)
def test_the_command_imports_no_spark(folder, words, code, output):
    ours = {
        "RISK_ARTIFACTS": str(folder / "artifacts"),
        "RISK_CHECKPOINT": str(folder / "checkpoint"),
        "RISK_AUDIT": str(folder / "audit.jsonl"),
        "RISK_SINK": f"file:{folder / 'scores.lp'}",
        "RISK_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "COLUMNS": "200",
    }
    ran = run_python("-c", COMMAND, *words, cwd=folder, env={**os.environ, **ours})
    assert ran.returncode == code, ran.stderr
    assert output in ran.stdout + ran.stderr
    assert ran.stdout.endswith("Spark was imported: False\n")
    assert not (folder / "scores.lp").exists()
