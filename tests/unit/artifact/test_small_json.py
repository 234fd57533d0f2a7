"""Small JSON files that another program or a person may have spoilt: an error with the caller's remedy, or nothing."""

import msgspec
import pytest

from schemas.errors import ArtifactError, SettingsError
from schemas.files import read_small_json


class Word(msgspec.Struct):
    word: str

    def __post_init__(self):
        if self.word == "forbidden":
            raise SettingsError("forbidden", "say another")


def test_what_is_there_is_read_and_what_is_not_is_none(tmp_path):
    path = tmp_path / "word.json"
    assert read_small_json(path, Word, remedy="x") is None
    path.write_text('{"word": "yes"}')
    assert read_small_json(path, Word, remedy="x") == Word("yes")


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


def test_a_link_is_not_followed_and_a_folder_is_no_file(tmp_path):
    (tmp_path / "real.json").write_text('{"word": "yes"}')
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    (tmp_path / "broken.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.json").mkdir()
    for name in ("link", "broken", "folder"):
        with pytest.raises(ArtifactError, match="no regular file"):
            read_small_json(tmp_path / f"{name}.json", Word, remedy="x")
