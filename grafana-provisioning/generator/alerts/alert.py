"""One alert: a row of ALERTS. Grafana's rule, the runbook and docs/how-to/alerts.md are made from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from gettext import NullTranslations
from typing import Any

from schemas.languages import figure

Json = dict[str, Any]

SOURCE = "risk-influxdb"
ADDRESS = '{{ reReplaceAll "/\\\\z" "" externalURL }}'  # Grafana's own, without a `/` at its end
REGION = "{{ .Labels.region }}"
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
A_DAY = DAY_S // MINUTE_S  # evaluations


def plain(value: float) -> str:
    return f"{value:.3g}"


def percent(value: float) -> str:
    return f"{100 * value:g} %"


def hours(value: float) -> str:
    return f"{value / HOUR_S:g} h"


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where a threshold lies, for Grafana and in words. The ends of a range do not count.

    sentence: with `{}` in place of each of the figures, which bear their unit.
    """

    kind: str
    params: tuple[float, ...]
    sentence: str
    figures: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        return self.sentence.format(*self.figures)

    def evaluator(self) -> Json:
        return {"type": self.kind, "params": list(self.params)}


def above(value: float, unit: Callable[[float], str] = plain, *, said: str = "") -> Threshold:
    """said: the words, where the value only divides none from some."""
    return Threshold("gt", (value,), said) if said else Threshold("gt", (value,), "above {}", (unit(value),))


def below(value: float, unit: Callable[[float], str] = plain, *, said: str = "") -> Threshold:
    return Threshold("lt", (value,), said) if said else Threshold("lt", (value,), "below {}", (unit(value),))


def outside(low: float, high: float, *, said: str = "") -> Threshold:
    figures = () if said else (f"{low:.2g}", f"{high:.3g}")
    return Threshold("outside_range", (low, high), said or "outside {} to {}", figures)


def inside(low: float, high: float) -> Threshold:
    return Threshold("within_range", (low, high), "inside {} to {}", (f"{low:.2g}", f"{high:.3g}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """query: InfluxQL, a series for each alert; its newest value is judged every minute. Texts: no `$`, which Grafana's
    provisioning may take for a variable of the environment."""

    uid: str
    title: str
    severity: str  # information: wake nobody; warning; critical: the scores or the counts cannot be relied on
    panel: tuple[str, str]  # the page's uid and the panel's title: where to look
    query: str
    opens: Threshold
    closes: Threshold | str  # in words: as soon as it no longer opens
    measure: str = ""  # what a level in numbers is of
    looks_back_s: int = 10 * MINUTE_S
    waits: str = "0s"  # how long it must be so
    without_rows: str = "KeepLast"
    on_error: str = "KeepLast"
    lost_after: int = A_DAY  # evaluations without its series after which an alert ends
    summary: str
    means: str
    page: str = ""  # the address of a page, after `/d/`
    to_do: str
    pattern: str = "Opens: {opens}. Closes: {closes}."  # of the levels in words
    english: str = ""  # the title by which links lead to it, where it has another

    @property
    def levels(self) -> str:
        closes = self.closes if isinstance(self.closes, str) else self.closes.words
        return self.pattern.format(opens=f"{self.measure} {self.opens.words}".strip(), closes=closes)

    def rule(self, panel_id: int, runbook: str) -> Json:
        """Grafana's: A the query, B one number of each series, C the threshold. runbook: its page, after `/d/`."""
        condition: Json = {"evaluator": self.opens.evaluator()}
        if isinstance(self.closes, Threshold):  # so that a value on the line does not flap
            condition["unloadEvaluator"] = self.closes.evaluator()
        more = f" The page: {ADDRESS}/d/{self.page}" if self.page else ""
        return {
            "uid": self.uid,
            "title": self.title,
            "condition": "C",
            "for": self.waits,
            "noDataState": self.without_rows,
            "execErrState": self.on_error,
            "missing_series_evals_to_resolve": self.lost_after,
            "dashboardUid": self.panel[0],
            "panelId": panel_id,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": f"{in_a_line(self.means)} {self.levels}{more}",
                "runbook_url": f"{ADDRESS}/d/{runbook}",
            },
            "data": [self._asked(), *_judged(condition)],
        }

    def _asked(self) -> Json:
        model = {"refId": "A", "rawQuery": True, "resultFormat": "time_series", "query": in_a_line(self.query)}
        model |= {"intervalMs": MINUTE_S * 1000, "maxDataPoints": 43_200}
        span = {"from": self.looks_back_s, "to": 0}
        return {"refId": "A", "relativeTimeRange": span, "datasourceUid": SOURCE, "model": model}


def _judged(condition: Json) -> list[Json]:
    newest = {"type": "reduce", "expression": "A", "reducer": "last", "settings": {"mode": "dropNN"}}
    level = {"type": "threshold", "expression": "B", "conditions": [condition]}
    steps: Mapping[str, Json] = {"B": newest, "C": level}
    return [
        {"refId": name, "datasourceUid": "__expr__", "model": {"refId": name, **model}} for name, model in steps.items()
    ]


def said_in(alert: Alert, sentences: NullTranslations) -> Alert:
    """The same alert with its texts in the language of these sentences."""

    def said(text: str) -> str:
        return sentences.gettext(in_a_line(text)) if text else ""

    def level(at: Threshold) -> Threshold:
        return replace(at, sentence=said(at.sentence), figures=tuple(figure(each, sentences) for each in at.figures))

    names = ("title", "measure", "summary", "means", "to_do", "pattern")
    texts: Json = {name: said(getattr(alert, name)) for name in names}
    closes = said(alert.closes) if isinstance(alert.closes, str) else level(alert.closes)
    return replace(alert, **texts, opens=level(alert.opens), closes=closes, english=alert.title)


def in_a_line(text: str) -> str:
    return " ".join(text.split())
