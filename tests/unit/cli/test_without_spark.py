"""`check` and `rebuild` import no Spark: they start in a second and need no Java."""

import os

import msgspec
import pytest

from streaming.disk.checkpoint import CheckpointGuard
from streaming.settings import Settings
from tests.harness.kept_world import KeptWorld
from tests.harness.processes import run_python
from tests.harness.toy import toy_spec

COMMANDS = """
import sys
from streaming.__main__ import main

for words in (["check", "night.jsonl"], ["rebuild", "--from", "earliest", "--to", "latest"]):
    sys.argv[1:] = words
    try:
        main()
    except SystemExit as ended:
        print(words[0], "ended with", ended.code)
    print("Spark was imported:", "pyspark" in sys.modules)
"""


@pytest.fixture
def folder(tmp_path):
    """With a checkpoint, its artifacts and a file of messages."""
    world = KeptWorld(tmp_path, toy_spec())
    for clock_s in (1_700_000_000, 1_700_000_060):
        world.batch(clock_s, scores="0" * 16)
    guard = CheckpointGuard.of(Settings(clock="event"), "5f0c")
    (tmp_path / "checkpoint" / "guard.json").write_bytes(msgspec.json.encode(guard))
    (tmp_path / "night.jsonl").write_text('{"region": "elsewhere"}\n', encoding="utf-8")
    return tmp_path


def test_the_commands_import_no_spark(folder):
    ours = {
        "RISK_ARTIFACTS": str(folder / "artifacts"),
        "RISK_CHECKPOINT": str(folder / "checkpoint"),
        "RISK_AUDIT": str(folder / "audit.jsonl"),
        "RISK_SINK": f"file:{folder / 'scores.lp'}",
        "RISK_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "COLUMNS": "200",
    }
    ran = run_python("-c", COMMANDS, cwd=folder, env={**os.environ, **ours})
    assert ran.returncode == 0, ran.stderr
    assert "1 message, by the artifacts of toyville: 1 refused" in ran.stdout
    assert "no Kafka broker listens" in ran.stderr
    told = [line for line in ran.stdout.splitlines() if line.startswith(("check ", "rebuild ", "Spark "))]
    no_spark = "Spark was imported: False"
    assert told == ["check ended with 3", no_spark, "rebuild ended with 5", no_spark]
    assert not (folder / "scores.lp").exists()
