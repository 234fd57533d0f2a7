"""Files that outlive a crash or a power cut, small JSON that others may have spoilt, and errors in one line."""

import os
from pathlib import Path

import msgspec
import pytest

from schemas.audit import head_path, record
from schemas.errors import ArtifactError, BrokerError, SettingsError, errors_in_one_line
from schemas.files import open_for_append, read_small_json, replace_file


@pytest.mark.parametrize("outlives_power_cut", [True, False])
def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path, outlives_power_cut):
    path = tmp_path / "new" / "a.json"
    for content in (b"the first, which is longer", b"second"):
        replace_file(path, content, outlives_power_cut=outlives_power_cut)
        assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    replace_file(path, b"old")
    (tmp_path / ".a.json.part").mkdir()  # where the new one would be written
    with pytest.raises(IsADirectoryError):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"


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


def test_a_file_that_was_replaced_is_the_new_one_and_one_that_grows_has_its_name(tmp_path, disk):
    replace_file(tmp_path / "guard.json", b"{}")
    assert disk.has_all_of(tmp_path / "guard.json")
    with open_for_append(tmp_path / "scores.lp"):
        assert "scores.lp" in disk.names[tmp_path]


class Word(msgspec.Struct):
    word: str

    def __post_init__(self):
        if self.word == "forbidden":
            raise SettingsError("forbidden", "say another")


def test_what_is_there_is_read_what_is_not_is_none_and_a_link_is_not_followed(tmp_path):
    path = tmp_path / "word.json"
    assert read_small_json(path, Word, remedy="x") is None
    path.write_text('{"word": "yes"}')
    assert read_small_json(path, Word, remedy="x") == Word("yes")
    (tmp_path / "link.json").symlink_to(path)
    (tmp_path / "broken.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.json").mkdir()
    for name in ("link", "broken", "folder"):
        with pytest.raises(ArtifactError, match="no regular file"):
            read_small_json(tmp_path / f"{name}.json", Word, remedy="x")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"word": 1}', b'{"word": "\xff"}', b'{"word": "forbidden"}', b" " * 65_537],
    ids=["empty", "torn", "type", "no text", "refused", "too large"],
)
def test_what_cannot_be_used_says_so_with_the_callers_remedy(tmp_path, content):
    path = tmp_path / "word.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"word\.json") as caught:
        read_small_json(path, Word, remedy="write it again")
    assert caught.value.remedy == "write it again"


@pytest.mark.parametrize("remedy", ["", "start one: `broker`"])
def test_an_error_becomes_a_line_with_its_remedy_and_the_exit_code_of_its_kind(capsys, remedy):
    message = "no [bold]broker[/bold] " + 40 * "far away "  # no markup, and longer than a terminal is wide
    with pytest.raises(SystemExit) as ended, errors_in_one_line():
        raise BrokerError(message, remedy)
    assert ended.value.code == 5
    assert capsys.readouterr().err == f"error: {BrokerError(message, remedy)}\n"
