"""Stage 3, on the workers: features of a whole grid -> scores, with torch, on the GPU that the task was given."""

from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from models.artifact.artifact import Artifact
from models.features import Features
from models.network import RiskNetwork
from models.scoring import CellScores, score
from schemas.errors import ArtifactError, RiskError
from schemas.frame import BASELINE_MODEL, RiskFrame
from schemas.spec import HOUR_S
from streaming.flow.follow import factors_at
from streaming.flow.rows import FIELDS, ScoreColumns
from streaming.flow.workers import settle_worker
from streaming.roster.artifact_cache import ArtifactCache
from streaming.roster.roster import load_artifact
from streaming.roster.shipped import on_this_worker


@cache
def networks(device: str) -> ArtifactCache[RiskNetwork | None]:
    """A cache that gives an artifact's network on that device by the artifact's folder."""

    def read(folder: str) -> RiskNetwork | None:
        network = load_artifact(folder).network()
        return None if network is None else network.to(device)

    return ArtifactCache(read)


def task_device() -> str:
    """The device of this task: the GPU address that Spark assigned to it, else the CPU."""
    from pyspark import TaskContext  # in a worker only: `rebuild` scores without Spark

    context = TaskContext.get()
    gpus = context.resources().get("gpu") if context else None
    if gpus is None or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{gpus.addresses[0]}"


def score_features(
    artifact: Artifact,
    network_of: Callable[[], RiskNetwork | None],
    features: bytes,
    following: npt.NDArray[np.float32] | None = None,
) -> tuple[str, CellScores]:
    """Scores of one region, and what made them: the artifact's version, or the baseline and why.

    network_of: gives the network on its device, None when it cannot be used; may fail as the network itself may.
    following: (cells, categories, horizons) factors on what the network expects.
    """
    spec = artifact.spec
    shape = (spec.grid.cells, len(spec.categories), len(spec.features))
    values = np.frombuffer(features, "<f4").reshape(shape)
    try:
        network = network_of()
        if network is None:
            return f"{BASELINE_MODEL}:network unusable", score(values, None, artifact.constants, spec)
        return artifact.version, score(values, network, artifact.constants, spec, following)
    except (FloatingPointError, RuntimeError) as error:  # torch reports a lost or full GPU as RuntimeError
        return f"{BASELINE_MODEL}:{type(error).__name__}", score(values, None, artifact.constants, spec)


def followed(path: str | None, folder: str, tick_s: int) -> npt.NDArray[np.float32] | None:
    """The factors of a file; None without a file, or where it cannot be used: then the network alone scores."""
    try:
        return factors_at(path, folder, tick_s) if path else None
    except RiskError:
        return None


def scored_frame(folder: str, features: Features, as_of_s: int, following: str | None = None) -> RiskFrame:
    """The frame of an artifact and a region's features, on the CPU: without Spark, by the stream's functions.

    following: the file of what was followed.
    """
    artifact = load_artifact(folder)
    network_of = partial(networks("cpu"), folder)
    factors = followed(following, folder, as_of_s - as_of_s % artifact.spec.tick_s)
    model, scores = score_features(artifact, network_of, features.values.astype("<f4").tobytes(), factors)
    return RiskFrame(
        spec=artifact.spec,
        as_of_s=as_of_s,
        model=model,
        observed_1h=features.observed_1h,
        support=features.support,
        **{name: getattr(scores, name).astype(np.float32) for name in FIELDS},
    )


def score_stage(
    batches: Iterator[tuple[pd.Series, pd.Series, pd.Series, pd.Series, pd.Series]],
) -> Iterator[pd.DataFrame]:
    """The function for `pandas_udf`: artifact folder, features, whether it is a challenger's, file of what is followed,
    tick -> `ScoreColumns`.
    """
    settle_worker()
    torch.set_num_threads(1)  # one task, one core: Spark runs as many tasks as there are cores
    network_of = networks(task_device())
    for columns in batches:
        rows = []
        for folder_of_driver, packed, is_challenger, following, tick_s in zip(*columns, strict=True):
            artifact, folder = None, ""
            try:
                if packed is not None:
                    folder = on_this_worker(folder_of_driver)
                    artifact = load_artifact(folder)
            except (ArtifactError, OSError):  # a challenger may be damaged since it was taken: the watch reports it
                if not is_challenger:
                    raise
            if artifact is None:
                rows.append(ScoreColumns())
                continue
            factors = followed(following, folder, int(tick_s))
            model, scores = score_features(artifact, partial(network_of, folder), packed, factors)
            arrays = [getattr(scores, name).astype("<f4").tobytes() for name in FIELDS]
            raw = None if scores.raw is None or tick_s % HOUR_S else scores.raw.astype("<f4").tobytes()
            rows.append(ScoreColumns(model, *arrays)._replace(raw=raw))
        yield pd.DataFrame(rows, columns=ScoreColumns._fields)
