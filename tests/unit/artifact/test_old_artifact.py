"""An artifact that an earlier version wrote opens, and gives the features and scores that that version gave."""

import json
from pathlib import Path

import numpy as np

from models.artifact.pointer import champion_of
from models.features import FeatureEngine
from models.scoring import score

ARTIFACTS = Path(__file__).with_name("artifact_before_rooms")  # data: streaming/sample/NOTICE.md
FROZEN = json.loads(Path(__file__).with_name("scores_before_rooms.json").read_bytes())  # computed at commit c30a2e8
CLOSE = 2e-5  # relative: mathematical functions of other processors differ in the last bits


def test_the_old_artifact_gives_the_features_and_scores_that_it_gave_before():
    artifact = champion_of(ARTIFACTS, "chicago")
    values = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values
    cells = FROZEN["cells"]
    np.testing.assert_allclose(values[cells], FROZEN["features"], rtol=CLOSE, atol=1e-6)
    np.testing.assert_allclose(values.astype(np.float64).sum(axis=(0, 1)), FROZEN["sum_of_features"], rtol=CLOSE)
    scores = score(values, artifact.network(), artifact.constants, artifact.spec)
    for name in ("expected", "risk", "low", "high", "usual"):
        array = getattr(scores, name)
        np.testing.assert_allclose(array[cells], FROZEN[name], rtol=CLOSE)
        np.testing.assert_allclose(array.astype(np.float64).sum(axis=0), FROZEN[f"sum_of_{name}"], rtol=CLOSE)
    np.testing.assert_allclose(scores.attribution[:2], FROZEN["attribution"], rtol=1e-4)
    np.testing.assert_allclose(scores.attribution.sum(axis=0), FROZEN["sum_of_attribution"], rtol=1e-4)
