"""A reset comes whole or is finished later, wherever it was cut short."""

import errno
import logging
import shutil
from pathlib import Path
from threading import Event

import pytest

from schemas.errors import ArtifactError, CheckpointError
from streaming.disk.checkpoint import (
    begin_ms,
    finish_reset,
    last_commit,
    read_guard,
    read_until,
    set_aside,
    unfinished_reset,
)
from streaming.job import run
from streaming.settings import Settings
from streaming.topics.kafka import Topic
from tests.harness.checkpoint import commit, tree, verify

KEPT = {"spark", "batches", "outcomes", "roster.json", "guard.json", "begin"}


@pytest.fixture
def used(tmp_path):
    """A checkpoint that was once begun at 3 ms, with all that a job keeps in it."""
    settings = Settings(checkpoint=tmp_path / "checkpoint", artifacts=tmp_path / "none", audit=tmp_path / "audit.jsonl")
    verify(settings)
    commit(settings.checkpoint, 10, {"0": 120, "1": 40})
    for name in ("batches", "outcomes/riverton"):
        (settings.checkpoint / name).mkdir(parents=True)
    for name, text in {"roster.json": "{}", "begin": "3", "lock": "", "health.json": "{}"}.items():
        (settings.checkpoint / name).write_text(text, encoding="utf-8")
    return settings


def test_the_old_state_is_kept_aside_and_the_time_to_begin_at_is_said(used):
    old = set_aside(used.checkpoint, "stamp", from_ms=5)
    assert (read_guard(used.checkpoint), last_commit(used.checkpoint), read_until(used.checkpoint)) == (None, None, {})
    assert (begin_ms(used.checkpoint), begin_ms(old), read_until(old)) == (5, 3, {0: 120, 1: 40})
    verify(used.with_options(clock="event"), Topic(id="77aa", first_offsets={0: 500}, end_offsets={}))
    assert begin_ms(used.checkpoint) == 5
    set_aside(used.checkpoint, "again", from_ms=8)
    assert begin_ms(used.checkpoint) == 8


def test_nothing_stays_that_the_next_counts_could_be_judged_by(used):
    """What a job writes beside the checkpoint and reads again: only the lock and the health file may stay."""
    old = set_aside(used.checkpoint, "stamp", from_ms=5)
    assert {path.name for path in used.checkpoint.iterdir()} == {"old-stamp", "begin", "lock", "health.json"}
    assert {path.name for path in old.iterdir()} == KEPT


class PowerCut(BaseException):
    """Nothing of ours runs after it."""


def cut_short(monkeypatch, checkpoint, moves, failure):
    """A reset that ends with `failure` after so many moves."""
    left = [moves]

    def rename(path, target):
        if not left[0]:
            raise failure
        left[0] -= 1
        return move(path, target)

    move = Path.rename
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        set_aside(checkpoint, "stamp", from_ms=5)


@pytest.mark.parametrize("moves", range(len(KEPT) + 1))
def test_a_reset_that_was_cut_short_anywhere_is_finished(used, monkeypatch, tmp_path, caplog, moves):
    whole, again = tmp_path / "whole", tmp_path / "again"
    shutil.copytree(used.checkpoint, whole)
    set_aside(whole, "stamp", from_ms=5)
    with pytest.raises(PowerCut):
        cut_short(monkeypatch, used.checkpoint, moves, PowerCut())
    assert unfinished_reset(used.checkpoint) is not None
    shutil.copytree(used.checkpoint, again)
    with caplog.at_level(logging.WARNING):
        finish_reset(used.checkpoint)
    assert tree(used.checkpoint) == tree(whole)
    assert f"read from 1970-01-01T00:00:00Z; the former content is in {used.checkpoint / 'old-stamp'}" in caplog.text
    set_aside(again, "later", from_ms=9)
    assert (begin_ms(again), (again / "old-later").exists()) == (9, False)  # nothing was kept since
    assert tree(again / "old-stamp") == tree(whole / "old-stamp")


def test_a_full_disk_is_told_and_the_next_run_finishes(used, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(CheckpointError, match=r"No space left on device.*the next `run` or `checkpoint --reset`"):
        cut_short(monkeypatch, used.checkpoint, 2, full)
    with pytest.raises(ArtifactError):  # the run ends for want of artifacts, but not before that
        run(used, stop=Event(), watchers=[])
    assert (begin_ms(used.checkpoint), unfinished_reset(used.checkpoint)) == (5, None)


def test_a_disk_that_is_full_from_the_start_moves_nothing(used, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = tree(used.checkpoint)
    monkeypatch.setattr("streaming.disk.checkpoint.replace_file", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*nothing was moved"):
        set_aside(used.checkpoint, "stamp", from_ms=5)
    assert tree(used.checkpoint) == before
