import pytest

from schemas.files import replace_file


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
