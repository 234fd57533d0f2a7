"""What a forecast is worth to units that stand ready: posts that follow it, against the best posts that never move.

In each judged step the posts of every row begin with the same fixed ones. Units are exchanged one by one until none
brings more of the expected calls within reach (`readiness.choose.improved`). Then the calls of the step are looked at,
at their real places. The fixed posts are the best for the mean of all steps before.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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
class PostsRow:
    """One model's posts, of one setting, on the judged steps; without a call nothing but what is promised."""

    model: str
    units: int
    km: float
    within: float  # the share of the calls within reach
    promised: float  # the same of the expected calls
    mean_km: float  # from a call to the nearest post
    high_km: float  # 90th percentile
    changed: float  # posts a step
    versus_fixed: Difference | None  # of the share within reach; None for the fixed posts


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

    def followed(self, model: str, forecast: Callable[[range], AnyFloats]) -> tuple[PostsRow, ...]:
        """A row for each setting. forecast: (steps, scored cells, categories) of a range of steps."""
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
        return tuple(self._row(model, *of_setting) for of_setting in each)

    def rows(self, models: Iterable[tuple[PostsRow, ...]]) -> tuple[PostsRow, ...]:
        """For each setting the fixed posts, every model's, most within reach first, and those of perfect foresight."""
        counts, scored = self.task.cube.counts, self.task.scored
        foresight = self.followed(FORESIGHT, lambda run: counts[run.start : run.stop, scored].astype(np.float64))
        table: list[PostsRow] = []
        for setting, last, *rows in zip(self.settings, foresight, *models, strict=True):
            promised = self._question(setting, self._usual).within(self.fixed[setting])
            fixed = self._row(FIXED, setting, [self.fixed[setting]] * len(self._steps), promised)
            table += [fixed, *sorted(rows, key=lambda row: -row.within), last]
        return tuple(table)

    def _nearest_m(self, posts: Sequence[Posts]) -> Floats:
        """(calls,) from each to the nearest post. posts: of each judged step."""
        step, calls_m = self._calls
        way = calls_m[:, None] - self._places_m[np.array(posts)[np.searchsorted(self._steps, step)]]
        return np.asarray(np.hypot(way[..., 0], way[..., 1]).min(axis=1))

    def _row(self, model: str, setting: Setting, posts: Sequence[Posts], promised: float) -> PostsRow:
        """posts: of each judged step."""
        nearest_m, (units, km) = self._nearest_m(posts), setting
        changed = [(Counter(after) - Counter(before)).total() for before, after in pairwise(posts)]
        has_calls = len(nearest_m) > 0
        return PostsRow(
            model=model,
            units=units,
            km=km,
            within=float(np.mean(nearest_m <= 1000 * km)) if has_calls else np.nan,
            promised=promised,
            mean_km=float(nearest_m.mean()) / 1000 if has_calls else np.nan,
            high_km=float(np.percentile(nearest_m, 90)) / 1000 if has_calls else np.nan,
            changed=float(np.mean(changed or [0])),
            versus_fixed=self._versus(nearest_m, setting) if has_calls and model != FIXED else None,
        )

    def _versus(self, nearest_m: Floats, setting: Setting) -> Difference:
        """How much larger the share within reach is: above zero is better."""
        blocks = day_blocks(len(self.task.cube) - self.task.test, steps_per_week=self.task.cube.steps_per_week)
        _, block = np.unique(blocks[self._calls[0] - self.task.test], return_inverse=True)
        of_fixed = self._nearest_m([self.fixed[setting]] * len(self._steps))
        missed, missed_by_fixed = (each > 1000 * setting[1] for each in (nearest_m, of_fixed))
        less = difference_of((missed - 1.0 * missed_by_fixed)[None], block, np.random.default_rng(0))
        verdict = less.verdict if len(missed) >= LEAST_JUDGED else "too few"
        return replace(less, mean=-less.mean + 0.0, low=-less.high + 0.0, high=-less.low + 0.0, verdict=verdict)
