"""What a forecast is worth to units that stand ready: posts that follow it, against the best posts that never move.

In each judged step the posts of every row begin with the same fixed ones. Units are exchanged one by one until none
brings more of the expected calls within reach (`readiness.choose.improved`). Then the calls of the step are looked at,
at their real places. The fixed posts are the best for the mean of all steps before.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt

from models.evaluation.tasks import Task
from models.measures.cube import AnyFloats
from models.measures.paired import LEAST_JUDGED, Difference, day_blocks, difference_of
from models.readiness.answer import answered_columns
from models.readiness.choose import choose, improved
from models.readiness.question import Posts, Question
from models.readiness.reach import Drive, Reach, by_straight_line, metres_of
from schemas.grid import Floats
from schemas.spec import Spec

FIXED, FORESIGHT = "best fixed posts", "perfect foresight: out of reach"
Setting = tuple[int, float]  # units, kilometres of the straight line


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedPosts:
    """One model's posts, of one setting, on the judged steps."""

    setting: Setting
    nearest_m: Floats  # (calls,) from each call to the nearest post
    promised: float  # the share of the expected calls within reach
    changed: float  # posts a step


@dataclass(frozen=True, slots=True, kw_only=True)
class PostsRow:
    """versus_fixed: of the share within reach; None for the fixed posts."""

    model: str
    units: int
    km: float
    within: float  # the share of the calls
    promised: float
    mean_km: float
    high_km: float  # 90th percentile
    changed: float
    versus_fixed: Difference | None


@dataclass(frozen=True, kw_only=True)
class PostsJudge:
    """answered: the columns of categories that units answer; known: steps that the fixed posts are chosen by."""

    task: Task
    answered: Sequence[int]
    settings: Sequence[Setting]
    known: int

    @classmethod
    def of(cls, task: Task, spec: Spec, units: Sequence[int], reach_km: Sequence[float], known: int) -> "PostsJudge":
        """Raises ArtifactError where units answer nothing, and DataError for what is no question."""
        settings = tuple(product(units, reach_km))
        judge = cls(task=task, answered=answered_columns(spec), settings=settings, known=known)
        for setting in settings:
            judge._question(setting, judge._usual)
        return judge

    @cached_property
    def _usual(self) -> Floats:
        """(cells,) calls before the judged steps."""
        steps = np.flatnonzero(self.task.is_kept[: self.known])
        usual = np.zeros(self.task.grid.cells)
        past = self.task.cube.counts[np.ix_(steps, self.task.scored)][..., self.answered]
        usual[self.task.scored] = past.sum(axis=(0, 2))
        return usual

    @cached_property
    def _places_m(self) -> Floats:
        """(places, 2) the centres of cells with calls."""
        lat, lon = self.task.grid.centres()
        return metres_of(self.task.grid, lat, lon)[self._usual > 0]

    @cached_property
    def _reach(self) -> dict[float, Reach]:
        kilometres = {km for _, km in self.settings}
        return {km: by_straight_line(self.task.grid, self._places_m, Drive.of_km(km)) for km in kilometres}

    def _question(self, setting: Setting, expected: Floats) -> Question:
        return Question(expected=expected, reach=self._reach[setting[1]], units=setting[0], busy=0.0)

    @cached_property
    def fixed(self) -> dict[Setting, Posts]:
        questions = {setting: self._question(setting, self._usual) for setting in self.settings}
        return {setting: choose(question, np.random.default_rng(0)) for setting, question in questions.items()}

    @cached_property
    def _calls(self) -> tuple[npt.NDArray[np.int64], Floats]:
        """(calls,) the judged step of each, and (calls, 2) where it was."""
        task, incidents = self.task, self.task.incidents
        step = np.searchsorted(task.cube.starts_s, incidents.occurred_s, side="right") - 1
        judged = (step >= task.test) & task.is_kept[step] & task.scored[task.cell]
        judged &= np.isin(incidents.category, self.answered)
        metres = metres_of(task.grid, incidents.lat_deg[judged], incidents.lon_deg[judged])
        return step[judged], metres

    @cached_property
    def _steps(self) -> list[int]:
        """Those that are judged."""
        return (np.flatnonzero(self.task.is_kept[self.task.test :]) + self.task.test).tolist()

    def followed(self, forecast: Callable[[range], AnyFloats]) -> tuple[FollowedPosts, ...]:
        """forecast: (steps, scored cells, categories) of a range of steps."""
        posts: list[list[Posts]] = [[] for _ in self.settings]
        within, whole = np.zeros(len(self.settings)), 0.0
        for step in self._steps:
            expected = np.zeros(self.task.grid.cells)
            mean = forecast(range(step, step + 1))[0]
            expected[self.task.scored] = mean[:, self.answered].sum(axis=1, dtype=np.float64)
            whole += expected.sum()
            for number, setting in enumerate(self.settings):
                of_step = self.fixed[setting]
                if expected.sum() > 0:
                    question = self._question(setting, expected)
                    of_step = improved(question, of_step)
                    within[number] += expected.sum() * question.within(of_step)
                posts[number].append(of_step)
        each = zip(self.settings, posts, (within / whole if whole else within).tolist(), strict=True)
        return tuple(self._result(*of_setting) for of_setting in each)

    def _result(self, setting: Setting, posts: Sequence[Posts], promised: float) -> FollowedPosts:
        """posts: of each judged step."""
        step, calls_m = self._calls
        way = calls_m[:, None] - self._places_m[np.array(posts)[np.searchsorted(self._steps, step)]]
        of_steps = list(map(Counter, posts))
        changed = [(after - before).total() for before, after in pairwise(of_steps)]
        return FollowedPosts(
            setting=setting,
            nearest_m=np.hypot(way[..., 0], way[..., 1]).min(axis=1),
            promised=promised,
            changed=float(np.mean(changed or [0])),
        )

    def rows(self, models: Mapping[str, tuple[FollowedPosts, ...]]) -> tuple[PostsRow, ...]:
        """For each setting the fixed posts, every model's, most within reach first, and those of perfect foresight."""
        counts, scored = self.task.cube.counts, self.task.scored
        foresight = self.followed(lambda run: counts[run.start : run.stop, scored].astype(np.float64))
        table: list[PostsRow] = []
        for number, setting in enumerate(self.settings):
            posts = self.fixed[setting]
            promised = self._question(setting, self._usual).within(posts)
            fixed = self._result(setting, [posts] * len(self._steps), promised)
            rows = [self._row(model, each[number], fixed) for model, each in models.items()]
            rows.sort(key=lambda row: -row.within)
            table += [self._row(FIXED, fixed, None), *rows, self._row(FORESIGHT, foresight[number], fixed)]
        return tuple(table)

    def _row(self, model: str, posts: FollowedPosts, fixed: FollowedPosts | None) -> PostsRow:
        units, km = posts.setting
        has_calls = len(posts.nearest_m) > 0
        return PostsRow(
            model=model,
            units=units,
            km=km,
            within=float(np.mean(posts.nearest_m <= 1000 * km)) if has_calls else np.nan,
            promised=posts.promised,
            mean_km=float(posts.nearest_m.mean()) / 1000 if has_calls else np.nan,
            high_km=float(np.percentile(posts.nearest_m, 90)) / 1000 if has_calls else np.nan,
            changed=posts.changed,
            versus_fixed=self._versus(posts, fixed, 1000 * km) if fixed and has_calls else None,
        )

    def _versus(self, posts: FollowedPosts, fixed: FollowedPosts, reach_m: float) -> Difference:
        """How much larger the share within reach is: above zero is better."""
        blocks = day_blocks(len(self.task.cube) - self.task.test, steps_per_week=self.task.cube.steps_per_week)
        _, block = np.unique(blocks[self._calls[0] - self.task.test], return_inverse=True)
        missed, missed_by_fixed = (np.asarray(each.nearest_m > reach_m, np.float64) for each in (posts, fixed))
        less = difference_of((missed - missed_by_fixed)[None], block, np.random.default_rng(0))
        verdict = less.verdict if len(missed) >= LEAST_JUDGED else "too few"
        return replace(less, mean=-less.mean + 0.0, low=-less.high + 0.0, high=-less.low + 0.0, verdict=verdict)
