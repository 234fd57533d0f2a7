"""Queries as Grafana sends them, to an InfluxDB 1 that answers the same InfluxQL."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

from benchmarks.local_store import DATABASE
from generator.build import newest_frame

Series = dict[str, Any]  # "tags": names to values, "columns", "values"

MOST_BYTES = 2_000_000
_HTTP = urllib3.PoolManager(retries=False, timeout=30.0, maxsize=8)  # the panels of a page ask at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    url: str
    database: str = DATABASE
    token: str = ""  # of an InfluxDB 2, whose bucket is the database

    def request(self, method: str, path: str, **more: Any) -> urllib3.BaseHTTPResponse:
        headers = {"Authorization": f"Token {self.token}"} if self.token else {}
        return _HTTP.request(method, f"{self.url}{path}", headers=headers, **more)

    def write(self, lines: bytes) -> None:
        while lines:  # one of 10 MB takes a busy machine longer than the store waits
            end = len(lines) if len(lines) < MOST_BYTES else lines.rindex(b"\n", 0, MOST_BYTES) + 1
            answer = self.request("POST", f"/write?db={self.database}&precision=s", body=lines[:end])
            assert answer.status == 204, answer.data[:500]
            lines = lines[end:]

    def series(self, query: str) -> list[Series]:
        """The answer's series. InfluxQL's errors come with HTTP 200, so the body is read."""
        fields = {"db": self.database, "epoch": "ms", "q": query}
        answer = json.loads(self.request("POST", "/query", fields=fields, encode_multipart=False).data)
        result = answer if "error" in answer else answer["results"][0]
        assert "error" not in result, f"{result['error']}\n{query}"
        series: list[Series] = result.get("series", [])
        return series

    def another(self, name: str) -> "Store":
        """An empty database on the same server."""
        query = f'DROP DATABASE "{name}"; CREATE DATABASE "{name}"'
        assert self.request("POST", "/query", fields={"q": query}, encode_multipart=False).status == 200
        return Store(url=self.url, database=name)


def filled_in(
    query: str,
    *,
    from_s: float,
    to_s: float,
    now_s: float | None = None,
    interval: str = "60s",
    variables: Mapping[str, str] | None = None,
) -> str:
    """`query` with Grafana's macros and variables replaced, as its front end and back end do together.

    `now_s` stands for the store's clock; without it, the shown range ends now. A variable with `:regex` is a list for a
    regular expression. Fails when something of Grafana's is left over.
    """
    from_ms, to_ms = round(1000 * from_s), round(1000 * to_s)
    text = query.replace("$timeFilter", f"time >= {from_ms}ms and time <= {to_ms}ms")
    text = text.replace("now()", f"{to_ms if now_s is None else round(1000 * now_s)}ms")
    text = text.replace("$__interval", interval).replace("${__to}", str(to_ms)).replace("${__from}", str(from_ms))
    for name, value in (variables or {}).items():
        text = re.sub(
            rf"\$\{{{re.escape(name)}(\.\w+)?(:\w+)?\}}|\${re.escape(name)}\b", lambda _, value=value: value, text
        )
    assert "$" not in text.replace("$/", "/"), f"not replaced: {text}"  # a regular expression ends in $/
    return text


def shown(store: Store, query: str, *, variables: Mapping[str, str], **when: Any) -> list[Series]:
    """The answer to a page's query, which asks for the newest whole frame first. `when`: as for `filled_in`."""
    if "${frame" in query:
        newest = table(store.series(filled_in(newest_frame()["query"], variables=variables, **when)))
        variables = {**variables, "frame": str(newest[0]["last"]) if newest else ""}
    return store.series(filled_in(query, variables=variables, **when))


def table(series: list[Series]) -> list[dict[str, Any]]:
    """Rows of the one frame that Grafana makes of all series in the format `table`: Time, tags, values by name."""
    return [
        {"Time": row[0], **each.get("tags", {}), **dict(zip(each["columns"][1:], row[1:], strict=True))}
        for each in series
        for row in each["values"]
    ]
