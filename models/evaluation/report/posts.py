"""The table of posts that follow each forecast, in texts."""

from itertools import groupby

from models.evaluation.posts import FORESIGHT, PostsRow
from models.evaluation.report.columns import NONE
from models.evaluation.result import Evaluation

HEADINGS = (
    "model",
    "within %",
    "against fixed,\N{NO-BREAK SPACE}points",
    "verdict",
    "mean km",
    "90%\N{NO-BREAK SPACE}in km",
    "moves a\N{NO-BREAK SPACE}step",
    "promised -\N{NO-BREAK SPACE}kept",
)
MEANING = (
    "Posts that follow each model's forecast, against the best posts that never move, which are chosen by the time "
    "before; all begin each step with these. Within: calls within reach by straight line; km: from the nearest post, "
    "mean and 90th percentile; moves: posts that differ from those of the step before; promised - kept: the share by "
    "the forecast, less that of the calls, in points. Perfect foresight knows each step's calls, most of which are "
    "chance: no forecast can have it."
)


def posts_tables(evaluation: Evaluation) -> list[tuple[str, list[tuple[str, ...]]]]:
    """For each number of units and each reach its heading, and the texts of its rows."""
    settings = groupby(evaluation.posts, key=lambda row: f"{row.units} units, {row.km:g} km")
    return [(heading, [_texts(row) for row in rows]) for heading, rows in settings]


def _texts(row: PostsRow) -> tuple[str, ...]:
    versus = row.versus_fixed
    points = (100 * share + 0.0 for share in ((versus.mean, versus.low, versus.high) if versus else ()))
    figures = (100 * row.within, row.mean_km, row.high_km)
    within, mean, high = (f"{figure:.{digits}f}" for figure, digits in zip(figures, (1, 2, 2), strict=True))
    return (
        row.model,
        within,
        "{:+.2f} ({:+.2f}, {:+.2f})".format(*points) if versus else NONE,
        versus.verdict if versus and row.model != FORESIGHT else "",
        mean,
        high,
        f"{row.changed:.1f}",
        f"{100 * (row.promised - row.within) + 0.0:+.1f}",
    )


def posts_sentences(evaluation: Evaluation) -> tuple[str, ...]:
    """What the network's posts gain over fixed ones."""
    return tuple(map(_sentence, (row for row in evaluation.posts if row.model == evaluation.network.model)))


def _sentence(row: PostsRow) -> str:
    if row.versus_fixed is None:
        return f"No call happened: of {row.units} units and {row.km:g} km nothing is known."
    points = "{:+.2f} points ({:+.2f}, {:+.2f})".format(
        *(100 * share + 0.0 for share in (row.versus_fixed.mean, row.versus_fixed.low, row.versus_fixed.high))
    )
    meaning = {
        "better": "better",
        "worse": "worse, leave the units where they are",
        "tie": "a tie, fixed posts are as good",
    }.get(row.versus_fixed.verdict, f"{row.versus_fixed.verdict} for a verdict")
    return (
        f"{row.units} units, {row.km:g} km: posts that follow the network differ from the best fixed posts by {points} "
        f"of the calls within reach: {meaning}."
    )
