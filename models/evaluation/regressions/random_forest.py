"""Spark MLlib's random forest on the product's features. It minimises squared errors, which rare counts do not suit."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import pandas as pd
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.regression import RandomForestRegressionModel, RandomForestRegressor
from pyspark.sql import DataFrame, SparkSession

from models.evaluation.contract import Values
from models.evaluation.regressions.flat import flat, flat_counts
from models.evaluation.regressions.trees import Forest
from models.measures.cube import Floats
from models.training.fit_network import Examples

MOST_ROWS = 200_000  # that a forest is grown from
TREES, DEPTH, LEAST_IN_LEAF = 30, 9, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomForest:
    session: Callable[[], AbstractContextManager[SparkSession]]  # its Java need not live longer than the fit
    name: ClassVar[str] = "random forest (MLlib)"

    def fit(self, train: Examples, validation: Examples, *, seeds: Sequence[int]) -> list[Forest]:
        values, counts = flat(train.values.numpy()), flat_counts(train)
        with self.session() as session:
            return [forest_of(grown(session, values, counts, seed)) for seed in seeds]


def grown(session: SparkSession, values: Values, counts: Floats, seed: int) -> RandomForestRegressionModel:
    chosen = np.random.default_rng(seed).permutation(len(values))[:MOST_ROWS]
    frame = training_frame(session, values[chosen], counts[chosen])
    forest = RandomForestRegressor(
        featuresCol="features",
        labelCol="count",
        numTrees=TREES,
        maxDepth=DEPTH,
        minInstancesPerNode=LEAST_IN_LEAF,
        maxBins=64,
        featureSubsetStrategy="onethird",
        seed=seed,
    )
    return forest.fit(frame)


def forest_of(model: RandomForestRegressionModel) -> Forest:
    with TemporaryDirectory() as folder:
        saved = Path(folder, "forest")
        model.save(saved.as_uri())
        return Forest.of_saved(pd.read_parquet(saved / "data"), trees=TREES, depth=DEPTH)


def training_frame(session: SparkSession, rows: Values, counts: Floats) -> DataFrame:
    columns = [f"f{number}" for number in range(rows.shape[1])]
    table = pd.DataFrame(rows, columns=columns)
    table["count"] = counts
    assembler = VectorAssembler(inputCols=columns, outputCol="features")
    return assembler.transform(session.createDataFrame(table)).select("count", "features")
