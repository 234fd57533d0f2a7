"""What an evaluation found, in words for people who do not read scores."""

from dataclasses import dataclass
from math import isnan

from models.evaluation.findings import at_share, best_baseline, network_difference, percent_texts, percents_of_best
from models.evaluation.paired import BLOCK_DAYS, LEAST_BLOCKS
from models.evaluation.result import Evaluation

RATIO_BOUNDS = (0.95, 1.05)  # forecast over actual of a calibrated network
COVERAGE_BOUNDS = (0.88, 0.92)  # of its 90 % interval
AREA_SHARE = 0.10  # at which the page speaks of hits
SLIGHT = 1.0  # percent of the log score
_SHORT = {"better": "Yes", "worse": "No", "tie": "No difference can be told", "too short": "Not known yet"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    question: str
    short: str  # a word or two
    tone: str  # better, worse, tie, too short, or none of these
    sentences: tuple[str, ...]


def answers(evaluation: Evaluation) -> tuple[Answer, ...]:
    """What an official asks, and the answers that the figures give."""
    found, verdict = warnings(evaluation), network_difference(evaluation).verdict
    nothing_came = isnan(evaluation.network.scores.sheet.forecast_over_actual)
    gain = -percents_of_best(network_difference(evaluation), evaluation)[0]
    return (
        Answer(
            question="Is the model better than simple counting?",
            short=_SHORT[verdict] + (", slightly" if verdict == "better" and gain < SLIGHT else ""),
            tone=verdict,
            sentences=(verdict_sentence(evaluation), _against_counting(evaluation)),
        ),
        Answer(question="By how much?", short=_gain(evaluation), tone="", sentences=_in_use(evaluation)),
        Answer(
            question="Do its numbers come true?",
            short="Not known" if nothing_came else "Not quite" if found else "Yes",
            tone="tie" if nothing_came else "worse" if found else "better",
            sentences=(*_calibrated(evaluation), *found),
        ),
    )


def verdict_sentence(evaluation: Evaluation) -> str:
    """Network against best baseline, with the interval, and which of the two to use."""
    difference, name = network_difference(evaluation), evaluation.best_baseline
    mean, low, high = percent_texts(difference, evaluation)
    match difference.verdict:
        case "better":
            return (
                f"The network is better than the best baseline ({name}) by {mean.lstrip('-')} % of its log score, "
                f"95 % interval {high.lstrip('-')} % to {low.lstrip('-')} %."
            )
        case "worse":
            return (
                f"The network is worse than the best baseline ({name}) by {mean.lstrip('+')} % of its log score, "
                f"95 % interval {low.lstrip('+')} % to {high.lstrip('+')} %: use {name}."
            )
        case "tie":
            return (
                f"A tie: the network's log score differs from that of the best baseline ({name}) by {mean} %, and the "
                f"95 % interval, {low} % to {high} %, holds zero: {_instead(evaluation)}."
            )
        case _:
            return (
                f"Not known: the judged time has {difference.blocks} blocks of {BLOCK_DAYS} days, and a verdict needs "
                f"{LEAST_BLOCKS}. Until then {_instead(evaluation)}."
            )


def _instead(evaluation: Evaluation) -> str:
    name = evaluation.best_baseline
    if best_baseline(evaluation).kind == "rule":
        return f"use {name}, it is simpler"
    return f"the network gains nothing over {name}, which sees the same features"


def warnings(evaluation: Evaluation) -> tuple[str, ...]:
    """Where the network's own promises are broken; empty when they hold."""
    sheet, found = evaluation.network.scores.sheet, []
    if isnan(sheet.forecast_over_actual):
        found.append("No incident came in the judged time: nothing can be said about totals.")
    elif not RATIO_BOUNDS[0] <= sheet.forecast_over_actual <= RATIO_BOUNDS[1]:
        found.append(
            f"The network expects too {'many' if sheet.forecast_over_actual > 1 else 'few'} incidents: forecast over "
            f"actual is {sheet.forecast_over_actual:.3f}, outside {RATIO_BOUNDS[0]} to {RATIO_BOUNDS[1]}."
        )
    if not COVERAGE_BOUNDS[0] <= sheet.coverage_90 <= COVERAGE_BOUNDS[1]:
        found.append(
            f"The network's intervals are too {'wide' if sheet.coverage_90 > COVERAGE_BOUNDS[1] else 'narrow'}: those "
            f"of 90 % hold {100 * sheet.coverage_90:.1f} % of the counts, outside {100 * COVERAGE_BOUNDS[0]:.0f} % to "
            f"{100 * COVERAGE_BOUNDS[1]:.0f} %."
        )
    return tuple(found)


def _gain(evaluation: Evaluation) -> str:
    mean, low, high = percent_texts(network_difference(evaluation), evaluation)
    match network_difference(evaluation).verdict:
        case "too short":
            return _SHORT["too short"]
        case "tie":
            return f"Between {_signless(low)} and {_signless(high)}"
        case _:
            return _signless(mean)


def _signless(percent: str) -> str:
    return f"{percent[1:]} % {'better' if percent.startswith('-') else 'worse'}"


def _against_counting(evaluation: Evaluation) -> str:
    """The rules are the simple counting of the question; the best baseline may be one of them."""
    rules = [row for row in evaluation.rows if row.kind == "rule"]
    if rules[0].model == evaluation.best_baseline:
        return f"That baseline only counts; it is the best of the {len(rules)} simple rules that were tried."
    score = rules[0].scores.sheet.nb_log_score
    share = 100 * (evaluation.network.scores.sheet.nb_log_score - score) / score
    return (
        f"Against the best of the {len(rules)} simple rules that only count ({rules[0].model}) the network's log score "
        f"is {abs(share):.1f} % {'smaller: better' if share < 0 else 'larger: worse'}."
    )


def _in_use(evaluation: Evaluation) -> tuple[str, str]:
    """What the score means, and how many incidents the first cells hold."""
    meaning = "The log score says how much a forecast was surprised by what came: less is better."
    network, baseline = (
        at_share(row.scores.sheet, AREA_SHARE) for row in (evaluation.network, best_baseline(evaluation))
    )
    if isnan(network.hit_rate):
        return meaning, "No incident came in the judged time: there was nothing to find."
    area = f"{100 * AREA_SHARE:.0f} %"
    return (
        meaning,
        f"In use: the {area} of the area that the network puts first held {100 * network.hit_rate:.1f} % of the "
        f"incidents, those that the best baseline puts first {100 * baseline.hit_rate:.1f} %. Choosing at random finds "
        f"about {area}; the best choice in hindsight would have found {100 * network.ideal_hit_rate:.1f} %.",
    )


def _calibrated(evaluation: Evaluation) -> tuple[str, str]:
    network, actual = evaluation.network, evaluation.network.totals.city.actual
    ratio = network.scores.sheet.forecast_over_actual
    kept = f"Its 90 % intervals hold {100 * network.scores.sheet.coverage_90:.1f} % of the counts; 90 % is right."
    if isnan(ratio):
        return f"It expected {network.totals.city.forecast:,.0f} incidents, and none came.", kept
    ratios = {name: of.forecast_over_actual for name, of in network.scores.by_category.items()}
    each = ", ".join(f"{name} {one:.2f}" for name, one in ratios.items() if not isnan(one))
    return (
        f"It expected {ratio * actual:,.0f} incidents and {actual:,} came: forecast over actual is {ratio:.3f}"
        f"{f' ({each})' if len(ratios) > 1 else ''}, and 1 is right.",
        kept,
    )
