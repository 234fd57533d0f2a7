"""What standing units answer, and the purpose, are named in the file of tasks, and stay with their artifact."""

import msgspec
import pytest

from models.training.region_tasks import RegionTask, read_regions
from models.training.train_region import prepare
from schemas.errors import DataError
from tests.harness.small_town import LAYOUT, write_town
from tests.harness.toy import toy_artifact


@pytest.mark.parametrize(
    ("field", "named", "other", "wrong", "said"),
    [
        ("answered_by", ("ems",), ("fire",), ("theft",), "name some of ems, fire, each once"),
        ("purpose", "ems_readiness", "fire", "patrols", "purpose 'patrols': choose from ems_readiness"),
    ],
)
def test_a_task_names_its_use_and_one_that_is_like_it_keeps_it(tmp_path, field, named, other, wrong, said):
    write_town(tmp_path / "town.csv", seed=1)
    file = tmp_path / "task.toml"
    value = msgspec.json.encode(named).decode()
    written = f'[[regions]]\nregion = "town"\ndata = "town.csv"\nlayout = "{LAYOUT}"\n{field} = {value}\n'
    file.write_text(written, encoding="utf-8")
    [task] = read_regions(file)
    ready = prepare(task)
    default = {"answered_by": (), "purpose": ""}
    assert {name: getattr(ready.spec, name) for name in default} == default | {field: named}
    like = str(toy_artifact(tmp_path / "artifacts", ready.spec))
    again = RegionTask(region="town", data=task.data, layout=LAYOUT, like=like)
    assert prepare(again).spec == ready.spec
    words = ["".join(value) for value in (other, named)]  # each is a word, or one alone
    with pytest.raises(DataError, match=rf"{field} {words[0]}, and .* has {words[1]}: leave it out"):
        prepare(msgspec.structs.replace(again, **{field: other}))
    with pytest.raises(DataError, match=said):
        prepare(msgspec.structs.replace(task, **{field: wrong}))
