"""The table of evaluations in models/README.md says what the kept evaluation.json files say."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "models" / "README.md"
KEPT = {
    "Chicago 3 km, day": "chicago-3km-daily",
    "Chicago 1 km, hour": "chicago-1km-hourly",
    "Montgomery 2 km, hour": "montgomery-2km-hourly",
}


def lines_of(name, found):
    """Network, the three best of the others, and the best rule, as rows of a Markdown table."""
    others = [row for row in found["rows"] if row["kind"] != "network"]
    shown = [row for row in found["rows"] if row["kind"] == "network"] + others[:3]
    shown += [row for row in others[3:] if row["model"] == found["best_rule"]]
    for number, row in enumerate(shown):
        model = f"**{row['model']}**" if row["kind"] == "network" else row["model"]
        figures = (
            f"{row['nb_log_score']:.4f}",
            f"{row['poisson_deviance']:.4f}",
            f"{row['auc_pr']:.3f}",
            f"{row['forecast_over_actual']:.3f}",
            f"{100 * row['coverage_90']:.1f} %",
            against(row["versus_best_baseline"], "best baseline"),
            against(row["versus_best_rule"], "best rule"),
        )
        yield f"| {' | '.join(('' if number else name, model, *figures))} |".replace("|  |", "| |")


def against(found, itself):
    if found is None:
        return itself
    return f"{found['percent']:+.3f} % ({found['percent_low']:+.3f}, {found['percent_high']:+.3f}): {found['verdict']}"


@pytest.mark.parametrize("name", KEPT)
def test_every_row_of_the_table_is_in_the_readme(name):
    found = json.loads((ROOT / "docs" / "evaluation" / f"{KEPT[name]}.json").read_text(encoding="utf-8"))
    assert found["task"] == KEPT[name]
    assert len(found["seeds"]) == 5
    readme = README.read_text(encoding="utf-8")
    assert [line for line in lines_of(name, found) if line not in readme] == []
