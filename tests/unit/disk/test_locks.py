"""The lock of a checkpoint within one process; test_between_processes.py has it between several."""

import errno
import fcntl
import os
import threading

import pytest

from schemas.errors import CheckpointError
from streaming.disk.locks import is_held, only_writer


def test_whether_a_job_holds_the_checkpoint_can_be_seen_without_disturbing_it(tmp_path):
    assert not is_held(tmp_path / "never made")
    with only_writer(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_two_looks_at_once_do_not_take_each_other_for_a_job(tmp_path):
    """`health` is asked every few seconds, also beside a command: none may see a job that there is not."""
    with only_writer(tmp_path):
        pass
    with (tmp_path / "lock").open() as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        assert not is_held(tmp_path)


def test_a_start_waits_for_a_look_that_has_the_lock_for_a_moment(tmp_path):
    with only_writer(tmp_path):
        pass
    with (tmp_path / "lock").open() as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        threading.Timer(0.02, lambda: fcntl.flock(look, fcntl.LOCK_UN)).start()
        with only_writer(tmp_path):
            assert is_held(tmp_path)


def test_a_lock_that_cannot_be_had_or_signed_is_told_or_done_without(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(os, "ftruncate", full)
    with only_writer(tmp_path):
        assert is_held(tmp_path)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(CheckpointError, match="No locks available"), only_writer(tmp_path):
        pass
