"""The service as a client sees it: a real server on a port of this machine, over real connections."""

import json
import threading
import time
from contextlib import contextmanager

import numpy as np
import urllib3
import uvicorn
from safetensors.numpy import save

from schemas.areas import Area
from schemas.fine import shares_beside
from schemas.forecasts import FollowedChange
from schemas.frame import write_frames
from service.app import application
from service.service import Frames, Service
from service.tokens import Rates
from tests.harness.toy import toy_grid, toy_spec, toy_views

MANY = 1e9  # requests a second: no limit


class Clock:
    """The service's clock: of the machine, moved by `ahead_s`."""

    def __init__(self):
        self.ahead_s = 0.0

    def __call__(self):
        return time.time() + self.ahead_s


class Client:
    """Asks one address; `token` and `headers` go with every request."""

    def __init__(self, base, token=None):
        self.base = base
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.pool = urllib3.PoolManager(retries=False, timeout=20)

    def ask(self, path, *, method="GET", headers=(), **options):
        return self.pool.request(method, self.base + path, headers={**self.headers, **dict(headers)}, **options)

    def get(self, path, **headers):
        return self.ask(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def json(self, path, **headers):
        answer = self.get(path, **headers)
        assert answer.status == 200, answer.data
        return json.loads(answer.data)

    def post(self, path, body):
        return self.ask(path, method="POST", json=body)


def is_there(client):
    try:
        return client.get("/v1/regions").status == 200
    except urllib3.exceptions.HTTPError:
        return False


def waited(condition, within_s=60):
    """Whether the condition holds in time."""
    until_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until_s:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def running(service):
    """The address of a server with that service, which has looked at its files once."""
    server = uvicorn.Server(
        uvicorn.Config(application(service), port=0, log_level="error", timeout_graceful_shutdown=1)
    )
    service.look()  # before the server's own thread does: two at a time would leave a region out
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def area_of(name, polygons):
    """An area of GeoJSON's coordinates of a MultiPolygon."""
    return Area(name, tuple(tuple(np.array(ring) for ring in rings) for rings in polygons))


def toy_service(folder, *, clock=None, rate=MANY, **fields):
    """A service of the frames in a folder."""
    clock = clock or Clock()
    own = {"frames": Frames(folder), "audit": folder / "audit.jsonl"}
    return Service(now_s=clock, rates=Rates(rate, time.monotonic), **own, **fields)


def leave_squares(folder, frame, rows, share):
    """Shares of the squares in cells, as the job leaves them. rows: (cell, category or -1) of each row of `share`."""
    cell, category = (np.array(of) for of in zip(*rows, strict=True))
    path = shares_beside(folder, frame.spec.region, frame.model)
    path.parent.mkdir(parents=True)
    columns = {"cell": cell.astype(np.int32), "category": category.astype(np.int16), "share": share}
    path.write_bytes(save(columns))


def leave_frame(
    folder, region="riverton", *, age_s=0, seed=7, model="2026-07-r3", unusual=(), clock="wall", most_support=2, **spec
):
    """A region's drawn frame in the folder. Gives its two views."""
    fields = {"grid": toy_grid(6, 5, south_deg=41.6, west_deg=-87.9), "categories": ("theft", "battery"), **spec}
    given = {"seed": seed, "model": model, "unusual": unusual, "most_support": most_support}
    views = toy_views(toy_spec(region=region, **fields), as_of_s=int(time.time()) - age_s, **given)
    write_frames(folder, views, clock, FollowedChange(0, 1_764_000_000, "05 to 08 h x 1.9"))
    return views
