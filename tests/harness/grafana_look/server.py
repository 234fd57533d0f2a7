"""The HTTP side of the pages: dashboards, outlines, and InfluxQL's answers as frames like those of Grafana's server."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from schemas.spec import Spec
from streaming.maps.outlines import GROUND, GROUND_SVG, border_and_areas, geojson_files, lines_name
from tests.harness.influxql import Series, Store

HERE = Path(__file__).parent
TYPES = {".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2", ".svg": "image/svg+xml"}
Json = dict[str, Any]


@contextmanager
def serve(store: Store, *, built: Path, pages: list[Json], files: Mapping[str, bytes], now_ms: int) -> Iterator[str]:
    """The address of the pages. `now_ms` stands for the store's clock; files: of the map, by name."""
    dashboards = {page["uid"]: page for page in pages}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path.startswith("/api/dashboards/"):
                self.answer(dashboards[path.rpartition("/")[2]])
            elif path.startswith("/public/cells/"):
                self.send_bytes(TYPES.get(Path(path).suffix, "application/json"), files[path.rpartition("/")[2]])
            elif path.startswith("/build/"):
                self.send_file(built / path.removeprefix("/build/"))
            else:
                self.send_file(HERE / "index.html")

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/api/values":
                rows = [row for one in store.series(at(asked["query"], now_ms)) for row in one["values"]]
                self.answer([row[1] for row in rows])
            else:
                self.answer([answer_of(store, target, asked, now_ms) for target in asked["queries"]])

        def answer(self, content: Any) -> None:
            self.send_bytes("application/json", json.dumps(content).encode())

        def send_file(self, path: Path) -> None:
            if path.is_file():
                self.send_bytes(TYPES.get(path.suffix, "text/html"), path.read_bytes())
            else:
                self.send_error(404)

        def send_bytes(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: what is wrong with a page is in its findings."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def map_files(specs: Sequence[Spec]) -> dict[str, bytes]:
    """What `cells` writes for the map, by name."""
    files = geojson_files(specs) | {lines_name(spec.region): border_and_areas(spec.grid, []) for spec in specs}
    return {name: json.dumps(content).encode() for name, content in files.items()} | {GROUND: GROUND_SVG}


def at(query: str, now_ms: int) -> str:
    return query.replace("now()", f"{now_ms}ms")


def answer_of(store: Store, target: Json, asked: Json, now_ms: int) -> Json:
    query = target["query"].replace("$timeFilter", f"time >= {asked['from']}ms and time <= {asked['to']}ms")
    query = query.replace("$__interval", f"{round(asked['intervalMs'] / 1000)}s")
    try:
        series = store.series(at(query, now_ms))
    except AssertionError as error:
        return {"error": str(error), "frames": []}
    frames = as_table(series) if target["resultFormat"] == "table" else as_lines(series, target.get("alias", ""))
    return {"frames": [{"refId": target["refId"], **frame} for frame in frames]}


def as_table(series: list[Series]) -> list[Json]:
    """One frame of all series: time, tags, values."""
    if not series:
        return []
    rows = [(row, one.get("tags", {})) for one in series for row in one["values"]]
    fields = [field("Time", [row[0] for row, _ in rows], "time")]
    fields += [field(name, [tags[name] for _, tags in rows], "string") for name in series[0].get("tags", {})]
    names = list(enumerate(series[0]["columns"]))[1:]
    return [{"fields": fields + [field(name, [row[i] for row, _ in rows]) for i, name in names]}]


def as_lines(series: list[Series], alias: str) -> list[Json]:
    """A frame per series and column, named by Grafana's pattern: `$col`, `$tag_NAME`."""
    frames = []
    for one in series:
        tags, times = one.get("tags", {}), field("Time", [row[0] for row in one["values"]], "time")
        for i, column in list(enumerate(one["columns"]))[1:]:
            names = {"col": column, **{f"tag_{name}": value for name, value in tags.items()}}
            shown = re.sub(r"\$(\w+)", lambda found, names=names: names.get(found[1], found[0]), alias)
            value = field("Value", [row[i] for row in one["values"]])
            frames.append(
                {"name": shown, "fields": [times, value | {"labels": tags, "config": {"displayNameFromDS": shown}}]}
            )
    return frames


def field(name: str, values: list[Any], kind: str = "") -> Json:
    first = next((value for value in values if value is not None), 0.0)
    kind = kind or ("boolean" if isinstance(first, bool) else "string" if isinstance(first, str) else "number")
    return {"name": name, "type": kind, "values": values, "config": {}}
