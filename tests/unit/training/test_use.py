"""What standing units answer, and the purpose, are named in the file of tasks, and stay with their artifact."""

import msgspec
import pytest

from models.training.regions import RegionTask, read_regions
from models.training.train_region import prepare
from schemas.errors import DataError
from tests.harness.small_town import LAYOUT, write_town
from tests.harness.toy import toy_artifact


def test_a_task_names_what_units_answer_and_one_that_is_like_it_keeps_it(tmp_path):
    write_town(tmp_path / "town.csv", seed=1)
    file = tmp_path / "task.toml"
    written = f'[[regions]]\nregion = "town"\ndata = "town.csv"\nlayout = "{LAYOUT}"\nanswered_by = ["ems"]\n'
    file.write_text(written, encoding="utf-8")
    [task] = read_regions(file)
    ready = prepare(task)
    assert ready.spec.answered_by == ("ems",)
    like = str(toy_artifact(tmp_path / "artifacts", ready.spec))
    again = RegionTask(region="town", data=task.data, layout=LAYOUT, like=like)
    assert prepare(again).spec == ready.spec
    with pytest.raises(DataError, match=r"answered_by fire, and .* has ems: leave it out"):
        prepare(msgspec.structs.replace(again, answered_by=("fire",)))
    with pytest.raises(DataError, match="answered_by"):
        prepare(msgspec.structs.replace(task, answered_by=("theft",)))


def test_a_task_names_its_purpose_and_one_that_is_like_it_keeps_it(tmp_path):
    write_town(tmp_path / "town.csv", seed=1)
    file = tmp_path / "task.toml"
    written = f'[[regions]]\nregion = "town"\ndata = "town.csv"\nlayout = "{LAYOUT}"\npurpose = "ems_readiness"\n'
    file.write_text(written, encoding="utf-8")
    [task] = read_regions(file)
    ready = prepare(task)
    assert (ready.spec.purpose, ready.spec.answered_by) == ("ems_readiness", ())
    like = str(toy_artifact(tmp_path / "artifacts", ready.spec))
    again = RegionTask(region="town", data=task.data, layout=LAYOUT, like=like)
    assert prepare(again).spec == ready.spec
    with pytest.raises(DataError, match=r"purpose fire, and .* has ems_readiness: leave it out"):
        prepare(msgspec.structs.replace(again, purpose="fire"))
    with pytest.raises(DataError, match="purpose 'patrols': choose from ems_readiness"):
        prepare(msgspec.structs.replace(task, purpose="patrols"))
