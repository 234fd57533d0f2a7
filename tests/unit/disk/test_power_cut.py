"""What must outlive a power cut is on the disk, and not only in the machine's memory, when its writer returns."""

import os
from pathlib import Path

import pytest

from schemas.audit import head_path, record
from schemas.files import open_for_append, replace_file


class Disk:
    """What a power cut would leave: `size` of each file and the `names` of each folder when they were last flushed."""

    def __init__(self, monkeypatch):
        self.size, self.names = {}, {}
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.flush)

    def flush(self, number):
        number = number if isinstance(number, int) else number.fileno()
        self._fsync(number)
        about = os.fstat(number)
        self.size[about.st_ino] = about.st_size
        place = Path(os.readlink(f"/proc/self/fd/{number}"))
        if place.is_dir():
            self.names[place] = set(os.listdir(place))

    def has_all_of(self, path):
        about = path.stat()
        return self.size.get(about.st_ino) == about.st_size


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


def test_a_record_of_the_audit_log_and_its_head_are_there(tmp_path, disk):
    path, checkpoint = tmp_path / "new" / "audit.jsonl", tmp_path / "checkpoint"
    checkpoint.mkdir()
    for event in ("start", "stop"):
        record(path, event, {}, at_s=1.0, checkpoint=checkpoint)
        assert disk.has_all_of(path)
        assert disk.has_all_of(head_path(checkpoint))
        assert path.name in disk.names[path.parent]


def test_a_file_that_was_replaced_is_the_new_one(tmp_path, disk):
    replace_file(tmp_path / "guard.json", b"{}")
    assert disk.has_all_of(tmp_path / "guard.json")


def test_a_file_that_grows_has_its_name(tmp_path, disk):
    with open_for_append(tmp_path / "scores.lp"):
        assert "scores.lp" in disk.names[tmp_path]
