"""What an evaluation found: one row per model, and what the report draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.comparison import Difference
from models.dispersion import Dispersion, Floats
from models.evaluation.after_surges import SurgeFigures, SurgeRow
from models.evaluation.tasks import Task
from models.hyperparameters import DEFAULT, Hyperparameters
from models.measures import ModelScores, Totals
from models.nowcast import Nowcast

OUR_BASELINE = "our baseline"  # the row of what networks start from
NETWORK = "network"  # the row and kind of the network
FOLLOWING = "following"  # the network with a follower behind it
NOWCAST = "nowcast"  # the network with factors of the last hours
WITH_THE_NETWORK = (NETWORK, FOLLOWING, NOWCAST)  # rows that are no rivals of it
Losses = tuple[tuple[float, ...], ...]  # by seed: of the linear part alone, then after each epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """One model. With several seeds each figure is the mean over them, and the reliability is the first seed's."""

    model: str
    kind: str  # "rule" counts for itself; the others see the product's features
    scores: ModelScores
    totals: Totals
    dispersion: Dispersion  # (categories,) likeliest on the validation steps
    chosen: Mapping[str, float]  # what was chosen on the validation steps, by name; of several seeds the first's
    seeds: int
    log_scores_of_seeds: tuple[float, ...]  # NB log score of each seed; one without seeds
    seconds: float  # of fitting and forecasting
    versus_best_baseline: Difference | None = None  # None for the best rival itself
    versus_best_rule: Difference | None = None  # None for the best rule itself
    versus_own_baseline: Difference | None = None  # of a network: what it starts from; None for other kinds
    versus_by_category: Mapping[str, Difference] = field(default_factory=dict)  # the best rival; empty for itself

    @property
    def verdict(self) -> str:
        """Against the best rival; empty for itself."""
        return self.versus_best_baseline.verdict if self.versus_best_baseline else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingResult:
    """One model over the judged steps of several origins, fitted anew for each."""

    model: str
    nb_log_scores: tuple[float, ...]  # by origin
    nb_log_score: float  # mean over all judged steps
    versus_best_baseline: Difference | None  # None for the baseline that is best over all origins
    versus_best_rule: Difference | None
    versus_own_baseline: Difference | None  # as in ModelResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """The same models at several origins, the earliest first."""

    judged_from_s: tuple[int, ...]  # epoch seconds
    best_baseline: str  # over all of them
    best_rule: str
    rows: tuple[RollingResult, ...]  # best first


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All of it. Cells that are not scored have no part in any figure."""

    task: Task
    scored_cells: int
    purge_steps: int  # between what a model learned from and the first step it is judged on
    delay_steps: int  # how late counts are known
    rows: Sequence[ModelResult]  # best NB log score first
    best_baseline: str  # of the rows without the network
    best_rule: str  # of those that only count
    learning: Losses  # validation loss over the untrained network's
    seconds: float
    peak_gib: float
    made_at: str  # UTC
    versions: Mapping[str, str]
    recipe: Hyperparameters = DEFAULT  # of the network
    seeds: tuple[int, ...] = ()  # of the network, and of regressions that have seeds
    origins: Origins | None = None  # where earlier stretches were judged, too
    nowcast: Nowcast | None = None  # of the last origin, as it was fitted; None where nothing gained
    after_surges: tuple[SurgeRow, ...] = ()  # over all origins
    surge_figures: Mapping[str, tuple[SurgeFigures, Floats]] = field(default_factory=dict)  # by model, of one origin

    @property
    def best_score(self) -> float:
        """NB log score of the best rival."""
        return self.row(self.best_baseline).scores.sheet.nb_log_score

    @property
    def network(self) -> ModelResult:
        return next(row for row in self.rows if row.kind == NETWORK)

    def row(self, model: str) -> ModelResult:
        return next(row for row in self.rows if row.model == model)
