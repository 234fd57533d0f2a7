"""The Python of docs/how-to/extend.md works as it stands there."""

import re
import textwrap
from types import SimpleNamespace

import numpy as np

from models.feature_lists import Feature
from streaming.settings import Settings
from streaming.sinks.open import SINKS, open_sink
from tests.contracts.test_readme import ROOT

PAGE = (ROOT / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")


def python_below(heading):
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return textwrap.dedent(block)


def entry_of(registry, name):
    (entry,) = re.findall(rf'`"{name}": "([^"]+)"`', PAGE.split(f"`{registry}`")[1])
    return entry


def test_the_sink_is_opened_by_its_setting_and_stores_each_write(tmp_path, monkeypatch):
    module = entry_of("SINKS", "folder").partition(":")[0]
    source = tmp_path / "source" / "folder.py"
    source.parent.mkdir()
    source.write_text(python_below("A sink"), encoding="utf-8")
    monkeypatch.setattr("streaming.sinks.__path__", [str(source.parent)])
    assert module == "streaming.sinks.folder"
    monkeypatch.setitem(SINKS, "folder", entry_of("SINKS", "folder"))
    sink = open_sink(Settings(sink=f"folder:{tmp_path / 'stored'}"))
    sink.check()
    assert [sink.write(line).lines for line in (b"a x=1 1\n", b"b x=2 2\n")] == [1, 1]
    assert [path.read_bytes() for path in sorted((tmp_path / "stored").iterdir())] == [b"a x=1 1\n", b"b x=2 2\n"]


def test_the_feature_is_declared_with_its_name_and_computes_its_column():
    names = {}
    exec(python_below("A feature"), names)  # noqa: S102 - our own page
    feature = names["block"]
    assert isinstance(feature, Feature)
    assert (feature.name, feature.group) == ("block_1h", "next_door")
    newest = np.array([[3], [0]], np.int32)
    read = SimpleNamespace(windows={"1h": newest}, around=lambda counts: 8 * counts)
    np.testing.assert_array_equal(feature.of(read), [[27], [0]])
