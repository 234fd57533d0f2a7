"""How much of a surge in the last hours is left in the next ones: chosen by the hours of the past, all of them.

Every hour a setting's factor is put on what was usual in the region, and judged by the log score of what came. The best
setting must gain LEAST_NATS over no nowcast at all, else the region has none. Of those that gain nearly as much the
calmest is taken: the network knows a part of it already, and the storms of the next season are others.
"""

from itertools import product

import numpy as np

from models.baseline import BaselineConstants
from models.dispersion import LEAST_NATS, Floats
from models.nowcast import HOURS_BACK, Nowcast, log_likelihood, surge, weights
from models.training.fit_baseline import usual_by_hour
from models.training.replay import IncidentHistory
from schemas.spec import HOUR_S

HALF_LIVES_HOURS = (0.35, 0.5, 0.7, 1.0, 1.5)
PRIORS = (0.001, 0.003, 0.01, 0.03)
SIZES = (20.0, 50.0, 150.0)
SHARED = (0.0, 0.3, 1.0)
AHEAD = np.linspace(0, 1, 21)
NEARLY = 0.9  # of the best setting's gain
JUDGED_SIZE = 15.0  # of the negative binomial by which all settings are judged: a few nights must not decide alone
_DAY_PRIOR = 50.0  # incidents that came as usual, beside the last day's, in the level that a nowcast must beat


def fit_nowcast(past: IncidentHistory, constants: BaselineConstants, start_s: int, stop_s: int) -> Nowcast | None:
    """What is chosen by the hours in [start, stop); None where nothing gains enough.

    constants: of the baseline, and what is usual by them follows the last day's counts, as a network's forecast does.
    """
    spec, each = past.spec, HOUR_S // past.spec.slide_s
    first_hour, categories = past.first_s // HOUR_S + 1, len(spec.categories)
    hours = np.arange(first_hour, stop_s // HOUR_S)
    part = past.kept(int(hours[0]) * HOUR_S, int(hours[-1] + 1) * HOUR_S)
    at = past.incidents.occurred_s[part] // spec.slide_s - first_hour * each
    place = at * categories + past.incidents.category[part]
    counts_of_all = np.bincount(place, minlength=len(hours) * each * categories)
    came: Floats = counts_of_all.reshape(-1, categories).astype(np.float64)
    by_hour: Floats = came.reshape(len(hours), each, categories).sum(axis=1)
    usual_of_hours = usual_by_hour(hours, by_hour, constants, spec.timezone)
    usual_of_hours[np.isin(hours, past.cut_hours)] = 0
    spans = [span_s // spec.slide_s for span_s in spec.horizons_s]
    first = max(-(-start_s // HOUR_S) - first_hour, HOURS_BACK)
    moments = np.arange(first * each, len(came) - spans[0] + 1, each)
    if not len(moments):
        return None
    sums, now = [_sums(of) for of in (by_hour, usual_of_hours)], moments // each
    came_before, usual_before = (of[now] - of[np.maximum(now - 24, 0)] for of in sums)
    level = (_DAY_PRIOR + came_before) / (_DAY_PRIOR + usual_before)
    usual = np.repeat(usual_of_hours / each, each, axis=0)
    sums, outcomes = [_sums(of) for of in (came, usual)], []
    for span in spans:
        is_over = np.asarray(moments + span <= len(came))
        counts, mean = (of[np.minimum(moments + span, len(came))] - of[moments] for of in sums)
        outcomes.append((counts, mean * level, is_over, min(each / span, 1.0)))
    ages = np.arange(HOURS_BACK * each, 0, -1)
    settings = []
    for half_life in HALF_LIVES_HOURS:
        weight = weights(half_life, (ages - 0.5) / each)
        lately = [np.einsum("a,mak->mk", weight, of[moments[:, None] - ages]) for of in (came, usual)]
        for prior, size, shared in product(PRIORS, SIZES, SHARED):
            tried = Nowcast.of(half_life, prior, size, shared, np.ones(len(spans)))
            factors, _ = surge(lately[0], lately[1] * level, tried)
            moves = np.asarray((factors > 1).any(axis=1))
            gains = np.empty((len(spans), len(AHEAD)))  # nats by which what came is likelier with so much of a factor
            for horizon, (counts, mean, is_over, share) in enumerate(outcomes):
                judged = moves & is_over
                more = factors[judged] - 1
                moved = [mean[judged] * (1 + part * more) for part in AHEAD]
                scores = np.array([log_likelihood(counts[judged], of_part, JUDGED_SIZE).sum() for of_part in moved])
                gains[horizon] = share * (scores - scores[0])
            settings.append((float(gains[0, -1]), float(moves.mean()), tried, gains))  # full over the first horizon
    best = max(gain for gain, *_ in settings)
    if best < LEAST_NATS:
        return None
    _, _, chosen, gains = min((of for of in settings if of[0] >= NEARLY * best), key=lambda of: of[1])
    enough = gains >= np.maximum(NEARLY * gains.max(axis=1, keepdims=True), 1e-9)
    ahead = np.where(gains.max(axis=1) >= LEAST_NATS, AHEAD[enough.argmax(axis=1)], 0.0)
    ahead[0] = 1.0
    return Nowcast.of(
        float(chosen.half_life_hours), float(chosen.prior), float(chosen.size), float(chosen.shared), ahead
    )


def _sums(values: Floats) -> Floats:
    """(n + 1, categories) of the values before each."""
    return np.vstack([np.zeros((1, values.shape[1])), values.cumsum(axis=0)])
