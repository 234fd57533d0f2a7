"""Networks that do not fit, or misbehave when they are asked: the baseline scores, and says so."""

import numpy as np
import pytest
import torch
from safetensors.torch import save

from models.artifact import read_artifact
from models.features import FeatureEngine
from models.network import NetworkShape, ResidualNetwork, RiskNetwork
from models.scoring import CellScores, score
from streaming.flow.score import score_features
from tests.harness.forged_artifact import SPEC, forge

FEATURES = len(SPEC.features)


@pytest.mark.fault("F30")
def test_weights_that_do_not_fit_leave_the_baseline(artifact_copy):
    other = ResidualNetwork(NetworkShape(inputs=3, categories=2, horizons=3))
    folder = forge(artifact_copy, weights__safetensors=save(other.state_dict()))
    assert "does not fit" in read_artifact(folder).network_fault


def test_a_network_of_other_widths_is_built_as_its_weights_are(artifact_copy):
    other = ResidualNetwork(NetworkShape(inputs=FEATURES, categories=2, horizons=3, widths=(24, 8)))
    torch.nn.init.normal_(other.leave.weight)
    read = read_artifact(forge(artifact_copy, weights__safetensors=save(other.state_dict()))).network()
    values = torch.randn(1, 6, 2, FEATURES)
    assert torch.equal(read(values), other(values))


def hidden(**shapes):
    """The state of a network of widths 16 and 8, with other shapes in place of some of its tensors'."""
    state = ResidualNetwork(NetworkShape(inputs=FEATURES, categories=2, horizons=3, widths=(16, 8))).state_dict()
    return state | {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (hidden(enter__weight=(7, FEATURES)), "width of 7: choose 8 to 128"),
        (hidden(enter__weight=(0, FEATURES)), "width of 0"),
        (hidden(enter__weight=(129, 8)), "width of 129: choose 8 to 128"),
        (hidden(enter__weight=(200_000, 1)), "width of 200000"),
        (hidden(middle__weight=(200_000, 1)), "width of 200000"),
        (hidden(enter__weight=()), "0 and 2 dimensions, must have 2"),
        (hidden(middle__weight=(2, 2, 2)), "2 and 3 dimensions, must have 2"),
        ({name: tensor for name, tensor in hidden().items() if name != "enter.weight"}, "enter.weight"),
        ({name: tensor for name, tensor in hidden().items() if name != "middle.weight"}, "middle.weight"),
    ],
)
def test_widths_that_no_recipe_allows_are_refused_before_a_network_is_built(artifact_copy, monkeypatch, state, said):
    folder = forge(artifact_copy, weights__safetensors=save(state))
    monkeypatch.setattr("models.network.ResidualNetwork.__init__", lambda *_, **__: pytest.fail("a network was built"))
    artifact = read_artifact(folder)
    assert "does not fit" in artifact.network_fault
    assert said in artifact.network_fault
    assert artifact.network() is None


@pytest.mark.parametrize(
    "state",
    [
        hidden(enter__weight=(128, FEATURES)),
        hidden(middle__weight=(8, 17)),
        hidden(category__weight=(2, 15)),
        hidden(leave__weight=(3, 9)),
        hidden(mean=(FEATURES + 1,)),
        hidden(more=(1,)),
    ],
    ids=["first width", "second layer", "categories", "horizons", "features", "another tensor"],
)
def test_weights_whose_layers_do_not_fit_one_another_are_refused(artifact_copy, state):
    assert "does not fit" in read_artifact(forge(artifact_copy, weights__safetensors=save(state))).network_fault


@pytest.mark.fault("F30")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda mean: torch.full_like(mean, float("nan")), "not finite"),
        (lambda mean: torch.full_like(mean, float("inf")), "not finite"),
        (lambda mean: mean.to(torch.complex64), "must be float32"),
        (lambda mean: mean.to(torch.float8_e4m3fn), "must be float32"),
    ],
    ids=["NaN", "infinite", "complex", "eight bits"],
)
def test_weights_that_are_no_numbers_leave_the_baseline(artifact_copy, spoil, said):
    network = read_artifact(artifact_copy).network()
    state = network.state_dict()
    state["mean"] = spoil(state["mean"])
    assert said in read_artifact(forge(artifact_copy, weights__safetensors=save(state))).network_fault


class Misbehaving(RiskNetwork):
    """A network in the artifact's place that gives what it is told to."""

    def __init__(self, give):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.give = give

    def forward(self, values):
        return self.give(torch.zeros(*values.shape[:3], 3))


@pytest.mark.fault("F30")
@pytest.mark.parametrize(
    ("give", "said"),
    [
        (lambda right: right + float("nan"), "baseline:FloatingPointError"),
        (lambda right: right + float("inf"), "baseline:FloatingPointError"),
        (lambda right: right + 1e30, "baseline:FloatingPointError"),
        (lambda right: right[..., :1], "baseline:RuntimeError"),
        (lambda right: right[:, :1], "baseline:RuntimeError"),
        (lambda right: torch.cat([right, right], dim=-1), "baseline:RuntimeError"),
    ],
    ids=["NaN", "infinite", "beyond a float", "one horizon", "one cell", "six horizons"],
)
def test_a_network_that_gives_no_usable_number_leaves_the_baseline_and_the_score_says_so(sound_artifact, give, said):
    artifact = read_artifact(sound_artifact)
    values = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values
    with np.errstate(over="ignore"):
        model, scores = score_features(artifact, lambda: Misbehaving(give), values.tobytes())
    assert model == said
    baseline = score(values, None, artifact.constants, artifact.spec)
    for name in CellScores.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(scores, name), getattr(baseline, name))
