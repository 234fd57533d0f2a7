"""The row of the network with a follower behind it: each step's forecast, after what had become final by then."""

import numpy as np

from models.evaluation.judge import Forecast, Judge
from models.evaluation.product import Learned
from models.evaluation.spool import Spool
from models.following.follower import Follower
from models.following.sequential import SequentialFollowing, served_delay_s
from models.following.state import FollowerState
from models.measures.cube import Counts


def write_followed(network: Forecast, learned: Learned, judge: Judge, delay: int, spool: Spool) -> None:
    """Write the judged steps' forecasts of one network into `spool`, followed from the first judged step on.

    An outcome is learned when it would be final in the stream, and no earlier than `delay` steps after its end.
    """
    task, spec = judge.task, learned.engine.spec
    starts_s, cells = task.cube.starts_s, np.flatnonzero(task.scored)
    step_of = {int(at_s): step for step, at_s in enumerate(starts_s.tolist())}

    def counts(tick_s: int, _: int) -> Counts | None:
        step = step_of[tick_s]
        return np.where(task.scored[:, None], task.cube.counts[step], 0) if judge.is_kept[step] else None

    following = SequentialFollowing(
        follower=Follower.of(spec, learned.constants, step_s=task.step_s),
        counts=counts,
        delay_s=max(served_delay_s(), delay * task.step_s),
        state=FollowerState.new(spec),
    )
    raw = np.zeros((spec.grid.cells, len(spec.categories), 1))
    for run in judge.runs(judge.judged):
        for step, mean in zip(run, network(run), strict=True):
            raw[cells, :, 0] = mean
            factors = following.next_factors(int(starts_s[step]), raw.copy()).shown()
            spool.append(judge.floored((raw * factors)[None, cells, :, 0]))
