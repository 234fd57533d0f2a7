"""The Python of docs/how-to/extend.md works as it stands there."""

import inspect
import re
import textwrap
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest

from streaming.settings import Settings
from streaming.sinks.sink import SINKS, open_sink
from tests.contracts import test_sinks
from tests.contracts.test_readme import ROOT

PAGE = (ROOT / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")
PROMISES = [
    test
    for name, test in vars(test_sinks).items()
    if name.startswith("test_") and "opened" in inspect.signature(test).parameters
]


def python_below(heading):
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return textwrap.dedent(block)


def entry_of(registry, name):
    (entry,) = re.findall(rf'`"{name}": "([^"]+)"`', PAGE.split(f"`{registry}`")[1])
    return entry


@pytest.fixture
def folder_sink(tmp_path, monkeypatch):
    """The sink of the page, opened by its setting, and a way to read what it has stored."""
    source = tmp_path / "source" / "folder.py"
    source.parent.mkdir()
    source.write_text(python_below("A sink"), encoding="utf-8")
    monkeypatch.setattr("streaming.sinks.__path__", [str(source.parent)])
    assert entry_of("SINKS", "folder").partition(":")[0] == "streaming.sinks.folder"
    monkeypatch.setitem(SINKS, "folder", entry_of("SINKS", "folder"))
    stored = tmp_path / "stored"
    with closing(open_sink(Settings(sink=f"folder:{stored}"))) as sink:
        yield sink, lambda: b"".join(path.read_bytes() for path in sorted(stored.iterdir()))


@pytest.mark.parametrize("promise", PROMISES, ids=lambda test: test.__name__.removeprefix("test_"))
def test_the_sink_keeps_every_promise_of_a_sink(promise, folder_sink):
    promise(folder_sink)


def test_eleven_writes_are_read_back_in_their_order(folder_sink):
    sink, stored = folder_sink
    lines = [b"a x=%d %d\n" % (number, number) for number in range(11)]
    assert [sink.write(line).lines for line in lines] == [1] * 11
    assert stored() == b"".join(lines)


def test_the_feature_works_where_the_page_puts_it():
    """feature_lists.py with the page's function above `LISTS`, and with its name at the end of the first list."""
    above, lists = (ROOT / "models" / "feature_lists.py").read_text(encoding="utf-8").split("\nLISTS: ")
    listed = re.sub(r"\n    \),\n", "\n        block,\n    ),\n", lists, count=1)
    names = {"__name__": "extended_feature_lists"}
    exec(f"{above}\n{python_below('A feature')}\nLISTS: {listed}", names)  # noqa: S102 - our own page
    newest = np.array([[3], [0]], np.int32)
    windows = dict.fromkeys(("15min", "1h", "6h", "24h", "7d"), newest)
    read = SimpleNamespace(windows=windows, around=lambda counts: 8 * counts, hours_since=newest, same_hours=newest)
    np.testing.assert_array_equal(names["columns"]("recent", read)[-1], [[27], [0]])
    assert names["group_of"]("block_1h") == "next_door"
    assert "`block_1h` (log(1 + incidents), 0 to 22; group next_door)" in names["feature_table"]()
