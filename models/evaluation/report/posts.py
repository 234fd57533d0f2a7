"""The table of posts that follow each forecast, in texts."""

from itertools import groupby

from models.evaluation.posts import FORESIGHT, PostsRow
from models.evaluation.report.columns import NONE
from models.evaluation.result import Evaluation
from models.measures.paired import Difference
from schemas.left_behind.posts_measured import PostsCompared, PostsMeasured

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

_WORDS = {  # by verdict
    "better": "better: posts that follow the forecast reach more calls than the best fixed posts",
    "worse": "worse: posts that follow the forecast reach fewer calls, leave the units where they are",
    "tie": "tie: posts that follow the forecast reach as many calls as the best fixed posts",
    "too few": "too few calls to say whether posts that follow the forecast reach more than fixed ones",
    "too short": "too short a time to say whether posts that follow the forecast reach more calls than fixed ones",
}


def posts_tables(evaluation: Evaluation) -> list[tuple[str, list[tuple[str, ...]]]]:
    """For each number of units and each reach its heading, and the texts of its rows."""
    settings = groupby(evaluation.posts, key=lambda row: f"{row.units} units, {row.km:g} km")
    return [(heading, [_texts(row) for row in rows]) for heading, rows in settings]


def _texts(row: PostsRow) -> tuple[str, ...]:
    versus = row.versus_fixed
    return (
        row.model,
        f"{100 * row.within:.1f}",
        _points(versus) if versus else NONE,
        versus.verdict if versus and row.model != FORESIGHT else "",
        f"{row.mean_km:.2f}",
        f"{row.high_km:.2f}",
        f"{row.changed:.1f}",
        f"{100 * (row.promised - row.within) + 0.0:+.1f}",
    )


def posts_sentences(evaluation: Evaluation) -> tuple[str, ...]:
    """What the network's posts gain over fixed ones."""
    return tuple(map(_sentence, _of_the_network(evaluation)))


def posts_measured(evaluation: Evaluation, version: str, at_s: int) -> PostsMeasured:
    """The same to be left for Grafana's page. version: of the region's artifact."""
    compared = (
        PostsCompared(
            setting=f"{row.units:02d} units, {row.km:g} km",
            fixed=row.within - versus.mean,
            gain=versus.mean,
            low=versus.low,
            high=versus.high,
            promised_less_kept=row.promised - row.within,
            says=_WORDS[versus.verdict],
        )
        for row in _of_the_network(evaluation)
        if (versus := row.versus_fixed)
    )
    return PostsMeasured(version=version, at_s=at_s, settings=tuple(compared))


def _of_the_network(evaluation: Evaluation) -> list[PostsRow]:
    return [row for row in evaluation.posts if row.model == evaluation.network.model]


def _sentence(row: PostsRow) -> str:
    setting = f"{row.units} units, {row.km:g} km"
    if row.versus_fixed is None:
        return f"{setting}: no call happened, so nothing is known."
    return f"{setting}: {_WORDS[row.versus_fixed.verdict]} ({_points(row.versus_fixed)} points of the calls)."


def _points(versus: Difference) -> str:
    """The mean and its interval."""
    return "{:+.2f} ({:+.2f}, {:+.2f})".format(*(100 * share + 0.0 for share in (versus.mean, versus.low, versus.high)))
