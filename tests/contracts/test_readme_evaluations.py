"""The figures of evaluation.md, late-reports.md, costs.md and README.md are those of the kept evaluation.json files."""

import json
from pathlib import Path

import pytest

from tests.harness.readme import rows_below

ROOT = Path(__file__).parents[2]
PAGE, LATE, COSTS = (ROOT / "docs" / "explanation" / f"{name}.md" for name in ("evaluation", "late-reports", "costs"))
KEPT = {
    "Chicago 3 km, day": "chicago-3km-daily",
    "Chicago 1 km, hour": "chicago-1km-hourly",
    "Montgomery 2 km, hour": "montgomery-2km-hourly",
}


def shown(found):
    """The network, the best rival, and the best rule."""
    names = (found["best_baseline"], found["best_rule"])
    network = [row for row in found["rows"] if row["kind"] == "network"]
    return network + [row for row in found["rows"] if row["model"] in names]


def lines_of(name, found):
    """What is shown as rows of a Markdown table."""
    for number, row in enumerate(shown(found)):
        model = f"**{row['model']}**" if row["kind"] == "network" else row["model"]
        figures = (
            f"{row['nb_log_score']:.4f}",
            f"{row['forecast_over_actual']:.3f}",
            against(row["versus_best_baseline"], "best rival"),
            against(row["versus_best_rule"], "best rule"),
        )
        yield f"| {' | '.join(('' if number else name, model, *figures))} |".replace("|  |", "| |")


def line_over_origins(name, found):
    """The network over all judged stretches of time, as a row of a Markdown table."""
    origins, network = found["origins"], network_over_origins(found)
    figures = (
        ", ".join(moment[:10] for moment in origins["judged_from"]),
        f"{network['nb_log_score']:.4f}",
        origins["best_baseline"],
        against(network["versus_best_baseline"], ""),
        against(network["versus_best_rule"], ""),
    )
    return f"| {' | '.join((name, *figures))} |"


def best_rule_in_heading(found):
    return f"| best rival | against it | against the best rule, {found['best_rule']} |"


def network_of(found):
    return next(row for row in found["rows"] if row["kind"] == "network")


def network_over_origins(found):
    return over_origins(found, "network")


def over_origins(found, model):
    return next(row for row in found["origins"]["rows"] if row["model"] == model)


def against(found, itself):
    if found is None:
        return itself
    return f"{found['percent']:+.3f} % ({found['percent_low']:+.3f}, {found['percent_high']:+.3f}): {found['verdict']}"


def words_of(path):
    return " ".join(path.read_text(encoding="utf-8").split())


def kept(name):
    return of_file(KEPT[name])


def of_file(stem):
    return json.loads((ROOT / "docs" / "evaluation" / f"{stem}.json").read_text(encoding="utf-8"))


def test_the_prose_has_the_figures_of_the_files():
    days, hours, calls = map(kept, KEPT)
    minutes = [round(evaluation["seconds"] / 60) for evaluation in (days, hours, calls)]
    page, costs = words_of(PAGE), words_of(COSTS)
    assert f"{minutes[0]} minutes for Chicago's days, {minutes[1]} for its hours and {minutes[2]} for" in costs
    assert f"at most {max(found['peak_gib'] for found in (days, hours, calls)):.1f} GiB without Java" in costs
    gains = [network_of(evaluation)["versus_best_rule"] for evaluation in (days, hours, calls)]
    assert [gain["verdict"] for gain in gains] == ["tie", "better", "better"]
    first = words_of(ROOT / "README.md")
    said = f"{-gains[1]['percent']:.2f} % of the log score for Chicago's hours and {-gains[2]['percent']:.2f} % for"
    assert said in first
    days_over, hours_over, calls_over = map(network_over_origins, (days, hours, calls))
    assert {network_of(one)["versus_best_baseline"]["verdict"] for one in (days, hours, calls)} == {"tie"}
    assert "the newest block shows a tie on all three tasks" in page
    assert "it is a tie on one block" in first
    assert f"and {-days_over['versus_best_rule']['percent']:.2f} % on three" in first
    assert days_over["versus_best_rule"]["verdict"] == "better"
    verdicts = [found["versus_best_baseline"]["verdict"] for found in (days_over, hours_over, calls_over)]
    assert verdicts == ["tie", "better", "tie"]
    gain = -hours_over["versus_best_baseline"]["percent"]
    assert f"a gain of {gain:.2f} % for Chicago's hours" in page
    assert f"a tie or a gain of {gain:.2f} % on three" in first
    pools = [over_origins(one, "log-linear pool")["versus_best_baseline"] for one in (days, hours, calls)]
    assert [pool["verdict"] for pool in pools] == ["better", "better", "tie"]
    said = f"by {-pools[0]['percent']:.2f} % over three blocks of Chicago's days and by {-pools[1]['percent']:.2f} % of"
    assert f"**The pool** is better than the best rival {said} its hours" in page


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_file_is_of_its_task_by_five_seeds_over_three_origins(name):
    found = kept(name)
    assert found["task"] == KEPT[name]
    assert len(found["seeds"]) == 5
    assert len(found["origins"]["judged_from"]) == 3


def test_the_tables_hold_what_the_files_say_and_nothing_else():
    text = PAGE.read_text(encoding="utf-8")
    results = {name: kept(name) for name in KEPT}
    assert rows_below(text, "| task | model |") == [row for name in KEPT for row in lines_of(name, results[name])]
    covered = [100 * row["coverage_90"] for found in results.values() for row in shown(found)]
    said = f"The 90 % intervals of these rows cover {min(covered):.1f} to {max(covered):.1f} %."
    assert said in words_of(PAGE)
    over_origins = [line_over_origins(name, found) for name, found in results.items()]
    heading = text.split("| task | judged from |")[1].split("\n")[0]
    assert {best_rule_in_heading(found["origins"]) in heading for found in results.values()} == {True}
    assert rows_below(text, "| task | judged from |") == over_origins


def test_the_table_of_delays_is_that_of_the_files():
    rows, scores, glm = [], {}, {}
    for days in (0, 1, 3, 7):
        found = of_file(f"chicago-3km-daily-delay-{days}" if days else "chicago-3km-daily")
        assert found["blocks"]["delay_steps"] == days
        network = network_of(found)
        best, against_best = found["best_baseline"], against(network["versus_best_baseline"], "")
        against_rule = against(network["versus_best_rule"], "")
        assert (
            best_rule_in_heading(found) in LATE.read_text(encoding="utf-8").split("| delay, days |")[1].split("\n")[0]
        )
        scores[days] = network["nb_log_score"]
        glm[days] = -next(row for row in found["rows"] if row["model"] == "Poisson GLM")["versus_best_rule"]["percent"]
        figures = (
            f"{network['nb_log_score']:.4f} | {network['forecast_over_actual']:.3f} | {network['chosen']['epoch']:.0f}"
        )
        rows.append(f"| {days} | {figures} | {best} | {against_best} | {against_rule} |")
    assert rows_below(LATE.read_text(encoding="utf-8"), "| delay, days |") == rows
    lost = [f"{100 * (scores[days] / scores[0] - 1):.2f} %" for days in (1, 3)]
    text = words_of(LATE)
    assert f"a day costs {lost[0]} of the log score, one of three days {lost[1]}." in text
    assert f"The GLM keeps as much or more ({glm[3]:.2f} and {glm[7]:.2f} % better than the best rule)" in text


def test_the_hours_of_a_large_city_cost_what_the_page_says():
    found = of_file("synthetic-2304-hourly")
    counts = found["blocks"]["steps"] * found["grid"]["scored_cells"] * len(found["categories"])
    assert f"The hours of the last city are {counts / 1e6:.0f} million counts." in words_of(COSTS)
    assert f"took {found['seconds'] / 60:.0f} minutes with half of a core" in words_of(COSTS)
    assert f"and {found['peak_gib']:.1f} GiB: more than the 20 minutes" in words_of(COSTS)
    assert (len(found["seeds"]), found["seconds"] > 1200, found["peak_gib"] < 6) == (1, True, True)


def lines_of_merging():
    for name, stem in (("each call", "montgomery-raw"), ("repeated calls once", "montgomery-merged")):
        found, network = of_file(stem), network_of(of_file(stem))
        spreads = ", ".join(f"{network['dispersion'][category]:.1f}" for category in found["categories"])
        figures = (
            f"{network['nb_log_score']:.5f}",
            spreads,
            against(network["versus_best_baseline"], "best rival"),
            against(network["versus_best_rule"], "best rule"),
        )
        yield f"| {' | '.join((name, *figures))} |"


def test_what_merging_repeated_calls_changes_is_that_of_the_files():
    assert rows_below(LATE.read_text(encoding="utf-8"), "| Montgomery 2 km, hour, three classes |") == [
        *lines_of_merging()
    ]
    each, once = (network_of(of_file(stem)) for stem in ("montgomery-raw", "montgomery-merged"))
    assert once["dispersion"]["traffic"] > 3 * each["dispersion"]["traffic"]  # hardly wider than chance
    for against_whom in ("versus_best_baseline", "versus_best_rule"):
        assert once[against_whom]["verdict"] == each[against_whom]["verdict"]
