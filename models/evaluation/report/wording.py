"""The findings of an evaluation in sentences, for people who do not read scores."""

from math import isnan

from models.comparison import BLOCK_DAYS, LEAST_BLOCKS, LEAST_JUDGED, Difference
from models.evaluation.report.findings import Against
from models.evaluation.result import OUR_BASELINE, Evaluation, Origins
from models.local_time import minute

RATIO_BOUNDS = (0.95, 1.05)  # forecast over actual of a calibrated network
COVERAGE_BOUNDS = (0.88, 0.92)  # of its 90 % interval
LEAST_SEEDS = 5
_OWN = ("its own baseline", "use the baseline, which counts alone", "the baseline, which counts alone, is as good")
CATEGORY_BOUNDS, ENOUGH = (0.9, 1.1), 400  # forecast over actual of a category, where chance makes 5 %


def sentences(evaluation: Evaluation) -> tuple[str, ...]:
    """What was found: what the network adds to its own baseline; the best rule and the best rival beside it.

    Over several origins the advice follows all of them, and the last block of time alone gives none.
    """
    if evaluation.origins is None:
        return last_sentences(evaluation)
    over_all = _origins_sentences(evaluation.origins, evaluation.network.model)
    return (*over_all, "On the last block of time alone:", *last_sentences(evaluation))


def last_sentences(evaluation: Evaluation) -> tuple[str, ...]:
    """The network on the last block of time: against all that it was compared with, its baseline first."""
    network, rule, best = evaluation.network, evaluation.best_rule, evaluation.best_baseline

    def against(rival: str, versus: Difference | None, words: str, *advice: str) -> list[str]:
        if versus is None:
            return []
        rivals = Against(versus, evaluation.row(rival).scores.sheet.nb_log_score)
        return [_sentence(rivals, words, *(advice if evaluation.origins is None else ("", "")))]

    said = against(OUR_BASELINE, network.versus_own_baseline, *_OWN)
    if rule != best:
        rules = sum(row.kind == "rule" for row in evaluation.rows)
        counting = f"the best of {rules} simple rules that only count ({rule})"
        said += against(rule, network.versus_best_rule, counting, f"use {rule}", f"use {rule}, it is simpler")
    said += against(best, network.versus_best_baseline, f"the best rival ({best})", f"use {best}", _instead(evaluation))
    if network.seeds < LEAST_SEEDS:
        needs = f"It rests on {network.seeds} of the {LEAST_SEEDS} seeds that it needs: give --seeds {LEAST_SEEDS}."
        said[-1] = f"{said[-1]} {needs}"
    return tuple(said)


def _origins_sentences(origins: Origins, model: str) -> tuple[str, ...]:
    """The network, which is that model, over several origins."""
    scores = {row.model: row.nb_log_score for row in origins.rows}
    network = next(row for row in origins.rows if row.model == model)
    times = ", ".join(minute(at_s) for at_s in origins.judged_from_s)
    rule, best = origins.best_rule, origins.best_baseline
    said = [f"Judged on blocks of time that start at {times} (UTC); all models were fitted again for each:"]
    over_all = f"over all {len(origins.judged_from_s)} origins"
    for versus, rival, words, when_worse, otherwise in (
        (network.versus_own_baseline, OUR_BASELINE, *_OWN),
        (network.versus_best_rule, rule, rule, f"use {rule}", "use it, it is simpler"),
        (network.versus_best_baseline, best, best, f"use {best}", f"{best} is as good"),
    ):
        if versus is not None:
            said.append(_sentence(Against(versus, scores[rival]), f"{words} {over_all}", when_worse, otherwise))
    return tuple(dict.fromkeys(said))


def _sentence(against: Against, rival: str, when_worse: str, otherwise: str) -> str:
    """when_worse, otherwise: the advice; empty where there is none to give."""
    mean, low, high = against.texts
    so_worse, so, until = (f": {when_worse}" if when_worse else "", f": {otherwise}" if otherwise else "",
                           f" Until then {otherwise}." if otherwise else "")  # fmt: skip
    match against.difference.verdict:
        case "better":
            return (
                f"The network is better than {rival} by {against.size} % of its log score, 95 % interval "
                f"{high.lstrip('-')} % to {low.lstrip('-')} %."
            )
        case "worse":
            return (
                f"The network is worse than {rival} by {against.size} % of its log score, 95 % interval "
                f"{low.lstrip('+')} % to {high.lstrip('+')} %{so_worse}."
            )
        case "tie":
            return (
                f"A tie: the network's log score differs from that of {rival} by {mean} %, and the "
                f"95 % interval, {low} % to {high} %, contains zero{so}."
            )
        case "too few":
            return (
                f"Not known against {rival}: fewer than {LEAST_JUDGED} incidents happened in the judged time, and a "
                f"verdict needs as many: give a longer file.{until}"
            )
        case _:
            return (
                f"Not known against {rival}: the judged time has {against.difference.blocks} blocks of {BLOCK_DAYS} "
                f"days, and a verdict needs {LEAST_BLOCKS}: give a file whose judged part has at least "
                f"{LEAST_BLOCKS * BLOCK_DAYS} days.{until}"
            )


def _instead(evaluation: Evaluation) -> str:
    name = evaluation.best_baseline
    if evaluation.row(name).kind == "rule":
        return f"use {name}, it is simpler"
    return f"no gain over {name}, which uses the same features, was shown"


def warnings(evaluation: Evaluation) -> tuple[str, ...]:
    """Where the network's totals or intervals are wrong; empty when they are right."""
    sheet, broken = evaluation.network.scores.sheet, []
    if isnan(sheet.forecast_over_actual):
        broken.append("No incident happened in the judged time, so totals cannot be judged.")
    elif not RATIO_BOUNDS[0] <= sheet.forecast_over_actual <= RATIO_BOUNDS[1]:
        broken.append(
            f"The network expects too {'many' if sheet.forecast_over_actual > 1 else 'few'} incidents: forecast over "
            f"actual is {sheet.forecast_over_actual:.3f}, outside {RATIO_BOUNDS[0]} to {RATIO_BOUNDS[1]}."
        )
    for name, part in evaluation.network.scores.by_category.items():
        actual = sum(total.actual for total in evaluation.network.totals.by_category if total.name == name)
        if actual >= ENOUGH and not CATEGORY_BOUNDS[0] <= part.forecast_over_actual <= CATEGORY_BOUNDS[1]:
            broken.append(
                f"Of {name} it expects too {'many' if part.forecast_over_actual > 1 else 'few'}: forecast over actual "
                f"is {part.forecast_over_actual:.3f}, outside {CATEGORY_BOUNDS[0]} to {CATEGORY_BOUNDS[1]}."
            )
    if not COVERAGE_BOUNDS[0] <= sheet.coverage_90 <= COVERAGE_BOUNDS[1]:
        broken.append(
            f"The network's intervals are too {'wide' if sheet.coverage_90 > COVERAGE_BOUNDS[1] else 'narrow'}: those "
            f"of 90 % contain {100 * sheet.coverage_90:.1f} % of the counts, outside {100 * COVERAGE_BOUNDS[0]:.0f} % "
            f"to {100 * COVERAGE_BOUNDS[1]:.0f} %."
        )
    return tuple(broken)
