"""The doors: what is added in one file and one line, from outside or as docs/how-to/extend.md shows it, works."""

import importlib
import inspect
import re
import sys
import textwrap
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from lifecycle import triggers
from models.artifact import read_artifact
from models.counting.count_state import CountState
from models.evaluation import evaluate as evaluation
from models.evaluation.rivals import RIVALS
from models.evaluation.tasks import task_of
from models.feature_lists import LISTS, feature_table, group_of
from models.features import FeatureEngine
from models.files.layouts import LAYOUTS
from models.network import NetworkShape
from models.network_kinds import MODELS, Hyperparameters
from models.training.region_tasks import RegionTask
from models.training.train_region import prepare, train_region
from schemas.errors import ArtifactError, SinkUnavailable
from schemas.frame import RiskFrame
from service import app as service_app
from streaming.flow.rows import FIELDS
from streaming.flow.score import score_features
from streaming.settings import Settings
from streaming.sinks.line_protocol import risk_lines
from streaming.sinks.sink import SINKS, open_sink
from tests.contracts import test_sinks
from tests.contracts.test_readme import ROOT
from tests.harness.service import Client, leave_frame, running, toy_service
from tests.harness.small_task import evaluated
from tests.harness.toy import publish_artifact, toy_constants, toy_spec

AS_OF_S = 1_700_000_060
THE_MODEL = """
import numpy as np
import torch
from models.evaluation.rivals import Rule
from models.feature_lists import Counts, RecentCounts, recent_count
from models.files.layouts import Layout
from models.network import RiskNetwork, limited


class Half(Rule):
    name = "half an incident"

    def forecast(self, cube, first, *, delay=0):
        return np.full((len(cube) - first, *cube.counts.shape[1:]), 0.5)

class LinearNetwork(RiskNetwork):
    def __init__(self, shape):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape.inputs))
        self.register_buffer("share", torch.ones(shape.horizons))
        self.weight = torch.nn.Parameter(torch.zeros(shape.horizons, shape.inputs))

    @classmethod
    def create(cls, shape):
        return cls(shape)

    @classmethod
    def from_tensors(cls, tensors, shape):
        network = cls(shape)
        network.load_state_dict(tensors)
        return network

    def scale_like(self, inputs):
        self.mean.copy_(inputs.mean(dim=0))

    def forward(self, inputs):
        return self.share * limited((inputs - self.mean) @ self.weight.T)

LAYOUT = Layout(
    name="door", time_column="when", lat_column="y", lon_column="x", category_column="kind", timezone="UTC",
    time_format="epoch", notice="Terms of the door: open.",
)
"""
DAYS, DAY_S = 80, 86_400


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """outside(name, source): a module that is not part of the package."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


@pytest.fixture
def the_model(outside, monkeypatch):
    """A module with one of each, and its entries."""
    outside("the_model", f"{THE_MODEL}\n{python_below('A feature')}")
    module = importlib.import_module("the_model")
    monkeypatch.setitem(LISTS, "recent", (*LISTS["recent"], module.block))
    monkeypatch.setitem(MODELS, "linear", "the_model:LinearNetwork")
    monkeypatch.setitem(LAYOUTS, "door", module.LAYOUT)
    monkeypatch.setattr(evaluation, "RIVALS", [*RIVALS[:2], module.Half()])
    monkeypatch.setattr(evaluation, "EPOCHS", 2)
    torch.set_num_threads(1)
    return module


@pytest.fixture
def incident_file(tmp_path):
    """Twenty incidents a day in four square kilometres, in columns that no layout of the package has."""
    random = np.random.default_rng(0)
    count = 20 * DAYS
    when = 1_700_000_000 + np.sort(random.integers(0, DAYS * DAY_S, count))
    lat, lon = 41 + 0.018 * random.beta(1, 2, count), -87 + 0.024 * random.random(count)
    kinds = np.where(random.random(count) < 0.7, "ems", "fire")
    rows = [f"{at},{y:.5f},{x:.5f},{kind}" for at, y, x, kind in zip(when, lat, lon, kinds, strict=True)]
    path = tmp_path / "incidents.csv"
    path.write_text("\n".join(["when,y,x,kind", *rows]) + "\n", encoding="utf-8")
    return path


def test_a_feature_a_kind_of_network_and_a_layout_are_trained_scored_and_stored(the_model, incident_file, tmp_path):
    task = RegionTask(
        data=str(incident_file), layout="door", region="toyville", network="linear", epochs=2, step_minutes=1440
    )
    folder, _ = train_region(prepare(task), tmp_path / "artifacts", report=lambda what, share: None)
    artifact = read_artifact(folder)
    assert artifact.manifest.network == "linear"
    assert "Terms of the door: open." in artifact.card
    assert type(artifact.network()) is the_model.LinearNetwork
    values = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values
    block, cell, ring = (artifact.spec.features.index(name) for name in ("block_1h", "cell_1h", "ring_1h"))
    np.testing.assert_allclose(
        np.expm1(values[..., block]), np.expm1(values[..., cell]) + np.expm1(values[..., ring]), atol=1e-4
    )
    assert group_of("block_1h") == "next_door"
    assert "`block_1h` (log(1 + incidents), 0 to 22; group next_door)" in feature_table()
    model, scores = score_features(artifact, artifact.network, values.astype("<f4").tobytes())
    assert model == artifact.version
    assert scores.expected.shape == (artifact.spec.grid.cells, 2, 3)
    frame = RiskFrame(
        spec=artifact.spec,
        as_of_s=artifact.history().as_of_s,
        model=model,
        observed_1h=np.zeros(scores.expected.shape[:2], np.int32),
        support=np.zeros(scores.expected.shape[:2], np.uint8),
        **{name: getattr(scores, name) for name in FIELDS},
    )
    assert risk_lines(frame).count(b"\n") == artifact.spec.grid.cells * 2 * 3


def test_a_rival_and_a_kind_of_network_are_judged_on_a_file_of_a_new_layout(the_model, incident_file, monkeypatch):
    monkeypatch.delitem(MODELS, "residual")
    asked = RegionTask(region="town", data=str(incident_file), layout="door")
    task = task_of(asked, step="4h", now_s=1_800_000_000)
    judged = evaluated(task, recipe=Hyperparameters(network="linear"))
    assert {row.model for row in judged.rows} == {
        "constant 1", "last week's count / 7", "half an incident", "our baseline", "network",
        "network, following", "network, nowcast", "network, ratio of the last hours",
        "our baseline, nowcast",
    }  # fmt: skip
    assert all(np.isfinite(row.scores.sheet.nb_log_score) for row in judged.rows)


AN_ENDPOINT = """
from fastapi import APIRouter
from starlette.exceptions import HTTPException
from service.callers import TheCaller, problems_of

router = APIRouter(prefix="/v1")

@router.get("/bell", responses=problems_of(409))
async def bell(caller: TheCaller):
    raise HTTPException(409, "it rings already")
"""


def test_an_endpoint_is_a_router_and_an_entry(outside, monkeypatch, tmp_path):
    outside("an_endpoint", AN_ENDPOINT)
    monkeypatch.setattr(service_app, "ROUTERS", (*service_app.ROUTERS, importlib.import_module("an_endpoint").router))
    leave_frame(tmp_path)
    with running(toy_service(tmp_path)) as base:
        answer = Client(base).get("/v1/bell")
    assert (answer.status, answer.json()["detail"]) == (409, "it rings already")
    operation = service_app.document()["paths"]["/v1/bell"]["get"]
    assert {"401", "404", "405", "409", "422", "429", "500"} <= operation["responses"].keys()
    assert operation["responses"]["409"]["content"].keys() == {"application/problem+json"}


def test_a_trigger_of_retraining_is_a_function_and_an_entry(outside, monkeypatch):
    outside("a_trigger", "def fires(record):\n    return ['the stadium opened'] if record.age_days > 7 else []\n")
    entry = importlib.import_module("a_trigger").fires
    monkeypatch.setattr(triggers, "TRIGGERS", (*triggers.TRIGGERS, entry))
    champion = triggers.ChampionRecord(days=[], age_days=8, is_trained=True, was_better=True)
    assert triggers.triggers(champion) == ["the stadium opened"]
    assert triggers.triggers(replace(champion, age_days=7)) == []


def test_an_artifact_of_a_kind_that_is_not_there_is_refused_with_a_remedy(the_model, monkeypatch, tmp_path):
    spec = toy_spec()
    shape = NetworkShape(inputs=len(spec.features), categories=2, horizons=3)
    history = CountState(spec)
    history.advance(AS_OF_S)
    parts = {"constants": toy_constants(spec), "network": the_model.LinearNetwork(shape), "history": history}
    folder = publish_artifact(tmp_path, spec=spec, **parts)
    assert read_artifact(folder).network() is not None
    monkeypatch.delitem(MODELS, "linear")
    with pytest.raises(ArtifactError, match="of the kind 'linear', and this version has residual") as raised:
        read_artifact(folder)
    assert raised.value.remedy == "use the version that trained it, or train again"


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


def test_writes_are_read_back_in_order_and_none_replaces_another_when_the_oldest_goes(folder_sink, tmp_path):
    sink, stored = folder_sink
    lines = [b"a x=%d %d\n" % (number, number) for number in range(12)]
    assert [sink.write(line).lines for line in lines[:-1]] == [1] * 11
    assert stored() == b"".join(lines[:-1])
    min((tmp_path / "stored").iterdir()).unlink()
    sink.write(lines[-1])
    assert stored() == b"".join(lines[1:])


def test_a_folder_that_cannot_be_written_fails_a_check_and_a_write_as_the_contract_says(folder_sink, tmp_path):
    sink, _ = folder_sink
    (tmp_path / "stored").write_text("a file in its place", encoding="utf-8")
    for refused in (sink.check, lambda: sink.write(b"a x=1 60\n")):
        with pytest.raises(SinkUnavailable, match="cannot be written"):
            refused()
    (tmp_path / "stored").unlink()
