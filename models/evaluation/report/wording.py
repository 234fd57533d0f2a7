"""The findings of an evaluation in sentences, for people who do not read scores."""

from math import isnan

from models.evaluation.report.findings import Against, minute
from models.evaluation.result import OUR_BASELINE, UNINFORMED, Evaluation
from models.measures.paired import BLOCK_DAYS, LEAST_BLOCKS, LEAST_JUDGED, Difference
from schemas.errors import DataError

RATIO_BOUNDS = (0.95, 1.05)  # forecast over actual of a calibrated network
COVERAGE_BOUNDS = (0.88, 0.92)  # of its 90 % interval
LEAST_SEEDS = 5
_OWN = ("its own baseline", "use the baseline, which counts alone", "the baseline, which counts alone, is as good")
CATEGORY_BOUNDS, ENOUGH = (0.9, 1.1), 400  # forecast over actual of a category, where chance makes 5 %


def sentences(evaluation: Evaluation) -> tuple[str, ...]:
    """What was found: what the network adds to its own baseline; the best rule and the best rival beside it.

    Over several origins the advice follows all of them, and the last block of time alone gives none.
    """
    counting = (counting_sentence(evaluation),) if evaluation.best_rule != evaluation.best_baseline else ()
    of_the_last = (
        *own_sentences(evaluation),
        *informed_sentences(evaluation),
        *counting,
        verdict_sentence(evaluation),
    )
    if evaluation.origins is None:
        return of_the_last
    return (*origins_sentences(evaluation), "On the last block of time alone:", *of_the_last)


def own_sentences(evaluation: Evaluation) -> tuple[str, ...]:
    """Network against the baseline that it starts from, where it was compared."""
    versus, origins = evaluation.network.versus_own_baseline, evaluation.origins
    if versus is None:
        return ()
    against = _against(evaluation, versus, OUR_BASELINE)
    return (_sentence(against, *_OWN) if origins is None else _sentence(against, _OWN[0], "", ""),)


def informed_sentences(evaluation: Evaluation) -> tuple[str, ...]:
    """What holidays and outside series are worth, where the network knows them."""
    versus = evaluation.network.versus_uninformed
    if versus is None:
        return ()
    known = ", ".join(evaluation.also_known)
    advice = (f"leave out {known}", f"{known} showed no gain") if evaluation.origins is None else ("", "")
    return (_sentence(_against(evaluation, versus, UNINFORMED), f"the same network without {known}", *advice),)


def verdict_sentence(evaluation: Evaluation) -> str:
    """Network against best rival, with the interval, and which of the two to use."""
    name, is_advice = evaluation.best_baseline, evaluation.origins is None
    against = _against(evaluation, evaluation.network.versus_best_baseline, name)
    advice = (f"use {name}", _instead(evaluation)) if is_advice else ("", "")
    sentence = _sentence(against, f"the best rival ({name})", *advice)
    seeds = evaluation.network.seeds
    if seeds >= LEAST_SEEDS:
        return sentence
    return f"{sentence} It rests on {seeds} of the {LEAST_SEEDS} seeds that it needs: give --seeds {LEAST_SEEDS}."


def counting_sentence(evaluation: Evaluation) -> str:
    """Network against the best of the rules that only count."""
    name, rules = evaluation.best_rule, sum(row.kind == "rule" for row in evaluation.rows)
    advice = (f"use {name}", f"use {name}, it is simpler") if evaluation.origins is None else ("", "")
    return _sentence(
        _against(evaluation, evaluation.network.versus_best_rule, name),
        f"the best of {rules} simple rules that only count ({name})",
        *advice,
    )


def origins_sentences(evaluation: Evaluation) -> tuple[str, ...]:
    """The network over several origins; empty where only the last block of time was judged."""
    origins = evaluation.origins
    if origins is None:
        return ()
    scores = {row.model: row.nb_log_score for row in origins.rows}
    network = next(row for row in origins.rows if row.model == evaluation.network.model)
    times = ", ".join(minute(at_s) for at_s in origins.judged_from_s)
    sentences = [f"Judged on blocks of time that start at {times} (UTC); all models were fitted again for each:"]
    over_all = f"over all {len(origins.judged_from_s)} origins"
    if network.versus_own_baseline is not None:
        own = Against(network.versus_own_baseline, scores[OUR_BASELINE])
        sentences.append(_sentence(own, f"{_OWN[0]} {over_all}", *_OWN[1:]))
    for versus, rival, instead in (
        (network.versus_best_rule, origins.best_rule, "use it, it is simpler"),
        (network.versus_best_baseline, origins.best_baseline, f"{origins.best_baseline} is as good"),
    ):
        if versus is not None:
            against = Against(versus, scores[rival])
            sentences.append(_sentence(against, f"{rival} {over_all}", f"use {rival}", instead))
    return tuple(dict.fromkeys(sentences))


def _against(evaluation: Evaluation, versus: Difference | None, rival: str) -> Against:
    if versus is None:
        raise DataError(f"the network was not compared with {rival!r}", remedy="evaluate it again")
    return Against(versus, evaluation.row(rival).scores.sheet.nb_log_score)


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
