"""When an alert fires: what each alert means and what to do, as a page, so that an alert's link leads to it."""

import math
import re
from collections.abc import Sequence
from gettext import NullTranslations

from generator.alerts.alert import Alert, in_a_line
from generator.build import COLUMNS, Panel, page, text
from generator.looks import Json

UID = "risk-runbook"
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")  # to other pages, which Grafana does not have
# On a screen of 1280 pixels, Grafana's least wide grid: characters in a line of half of it, and pixels.
_CHARACTERS, _LINE_PX, _FRAME_PX, _ROW_PX = 72, 22, 72, 38


def guide(alerts: Sequence[Alert]) -> str:
    """The same, for docs/how-to/alerts.md."""
    return "\n\n".join(f"## {alert.title}\n\n{_words_of(alert)}" for alert in alerts)


def sections(alerts: Sequence[Alert]) -> list[Panel]:
    """A panel for each alert, of its title; two stand side by side and are as high as the longer needs."""
    contents = [_LINK.sub(r"\1", _words_of(alert)) for alert in alerts]
    pairs = [contents[number // 2 * 2 :][:2] for number in range(len(alerts))]
    return [
        text(alert.title, content, (COLUMNS // 2, max(map(_rows, pair))), english=alert.english)
        for alert, content, pair in zip(alerts, contents, pairs, strict=True)
    ]


def runbook(alerts: Sequence[Alert], sentences: NullTranslations) -> Json:
    title, description = "When an alert fires", "What each alert means, and what to do."
    return page(UID, sentences.gettext(title), sentences.gettext(description), sections(alerts), [])


def _words_of(alert: Alert) -> str:
    return f"*{alert.levels}*\n\n{in_a_line(alert.to_do)}"


def _rows(words: str) -> int:
    """Rows of the grid that the words need."""
    lines = sum(max(1, math.ceil(len(line) / _CHARACTERS)) for line in words.splitlines())
    return math.ceil((_FRAME_PX + _LINE_PX * lines) / _ROW_PX)
