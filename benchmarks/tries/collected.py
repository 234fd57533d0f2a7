"""What the models of one task learn from and are judged on, with the moment and cell of each value."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmarks.tries.columns import CANDIDATES, Past
from models.baseline import BaselineConstants
from models.evaluation.product import MOST_MOMENTS, blocks_of, bounds_of, history_of, spec_of
from models.evaluation.tasks import Task
from models.features import FeatureEngine
from models.training.examples import MOST_EXAMPLES, cells_to_learn
from models.training.fit_baseline import fit_constants
from models.training.replay import IncidentHistory, Replay

PURGE = 1
Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """(moments, cells, categories) each, with one axis more for the features of `values`."""

    at_s: npt.NDArray[np.int64]  # (moments,)
    cells: npt.NDArray[np.intp]  # (moments, cells)
    values: Values  # the product's features
    candidates: Mapping[str, Values]  # by family; with an axis of its columns
    counts: Values

    def inputs(self, families: tuple[str, ...] = ()) -> Values:
        """The features, and before the last one, the baseline's forecast, the columns of some families."""
        more = [self.candidates[family] for family in families]
        return np.concatenate([self.values[..., :-1], *more, self.values[..., -1:]], axis=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    train: Block
    validation: Block
    test: Block
    constants: BaselineConstants
    history: IncidentHistory
    steps_per_week: int


def collect_task(task: Task, *, country: str = "", follows: bool = True, seed: int = 0) -> Collected:
    """The blocks of `evaluate`, without delay. country: as ISO 3166-2, for its holidays; without it no candidates.

    follows: whether the baseline follows the region's level, as the product's does.
    """
    random = np.random.default_rng(seed)
    spec, starts_s = spec_of(task), task.cube.starts_s
    history = history_of(task, spec, int(starts_s[-1]))
    first, learn_until, choose_until = bounds = bounds_of(task, PURGE)
    blocks = blocks_of(task, bounds)
    constants = fit_constants(history_of(task, spec, blocks.test_s), blocks)
    if not follows:
        constants = replace(constants, level_half_life_days=constants.half_life_days)
    replay, engine = Replay(history), FeatureEngine(spec, constants)
    past = Past.of(history, constants, country) if country else None
    scored = np.flatnonzero(task.scored)

    def block(steps: npt.NDArray[np.intp], of: npt.NDArray[np.intp], most: int) -> Block:
        each = min(len(of), most)
        chosen = np.stack([np.sort(random.choice(of, each, replace=False)) for _ in steps])
        values, columns = [], []
        for step, cells in zip(steps, chosen, strict=True):
            at_s = int(starts_s[step])
            values.append(engine.compute(replay.lead_to(at_s)).values[cells])
            columns.append(
                {name: candidate(past, at_s)[cells] for name, candidate in CANDIDATES.items()} if past else {}
            )
        return Block(
            at_s=starts_s[steps],
            cells=chosen,
            values=np.stack(values),
            candidates={name: np.stack([one[name] for one in columns]) for name in columns[0]},
            counts=np.stack([task.cube.counts[step][cells] for step, cells in zip(steps, chosen, strict=True)]).astype(
                np.float32
            ),
        )

    def some(start: int, stop: int) -> npt.NDArray[np.intp]:
        steps = np.arange(start, stop)
        return np.sort(random.choice(steps, min(len(steps), MOST_MOMENTS), replace=False))

    learned, chosen_by = some(first, learn_until), some(task.validation, choose_until)
    most = max(MOST_EXAMPLES // len(spec.categories) // len(learned), 1)
    return Collected(
        train=block(learned, cells_to_learn(history, blocks.validation_s, random), most),
        validation=block(chosen_by, scored, len(scored)),
        test=block(np.arange(task.test, len(task.cube)), scored, len(scored)),
        constants=constants,
        history=history,
        steps_per_week=task.cube.steps_per_week,
    )
