"""What is stored and asked for, read back: line protocol, the job's figures; and lines made a point at a time."""

import re
import urllib.request
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from schemas.frame import ATTRIBUTION_GROUPS, SUPPORT
from schemas.grid import geohash

FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^,]+)')
# Fields of a `pipeline` point that may differ when a batch is repeated or recounted.
OF_THE_MACHINE = {
    *("lag_events", "batch_s", "freshness_s", "state_bytes"),
    *("write_retries", "write_dropped", "unaccounted", "started_s", "challenger", "watch_ago_s"),
}


def points_in(text):
    """(measurement and tags, time in s, {field: text}) of each line."""
    for line in text.splitlines():
        key, rest = line.split(" ", 1)
        fields, time_s = rest.rsplit(" ", 1)
        yield key, int(time_s), dict(FIELD.findall(fields))


def tags_of(key):
    """name -> value. key: measurement and tags."""
    return dict(tag.split("=") for tag in key.split(",")[1:])


def stored_points(writes):
    """(measurement and tags, time) -> fields, later lines over earlier ones, as a store would have them."""
    points = {}
    for key, time_s, fields in points_in(b"".join(writes).decode()):
        points.setdefault((key, time_s), {}).update(fields)
    return points


def of_the_events(points, *others):
    """The points without the fields that describe the machine and not the events, and without the `others`."""
    left_out = OF_THE_MACHINE.union(others)
    return {key: {n: value for n, value in fields.items() if n not in left_out} for key, fields in points.items()}


NUMBERS = ("expected", "risk", "low", "high", "usual")


def rounded(value):
    """Four significant digits, never finer than 1e-6."""
    exact = Decimal(float(value))
    step = max(Decimal("1e-6"), Decimal(1).scaleb(exact.adjusted() - 3)) if exact else Decimal("1e-6")
    text = format((exact / step).quantize(Decimal(1), ROUND_HALF_EVEN) * step, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain_risks(view, mask=None):
    spec = view.spec
    ids, geohashes = spec.grid.cell_ids(), spec.grid.geohashes()
    for cell, c, h in np.argwhere(np.ones(view.risk.shape, np.bool_) if mask is None else mask).tolist():
        numbers = ",".join(f"{name}={rounded(getattr(view, name)[cell, c, h])}" for name in NUMBERS)
        yield (
            f"risk,category={view.categories[c]},cell={ids[cell]},geohash={geohashes[cell]},"
            f"horizon={spec.horizon_names[h]},region={spec.region} {numbers},observed_1h={view.observed_1h[cell, c]},"
            f'support="{SUPPORT[view.support[cell, c]]}" {view.tick_s}'
        )


def plain_unusual(frame):
    """Of each category its least likely place, or that all is as usual; feeds that are silent first."""
    for category in ("all", *frame.spec.categories):
        places = [place for place in frame.unusual if category in ("all", place.category)]
        best = max(places, key=lambda place: place.days, default=None)
        numbers = [getattr(best, name, 0) for name in ("days", "hours", "observed", "usual")]
        days, hours, observed, usual = map(float, numbers)
        of_it = [feed for feed in frame.silent if "all" in (category, feed.category) or category == feed.category]
        silent = [feed for feed in of_it if not feed.until_s]
        zone = frame.spec.timezone
        sentences = [
            f"FEED WAS SILENT: {feed.in_words(zone)}" if feed.until_s else f"FEED SILENT: {feed.in_words(zone)}"
            for feed in of_it
        ]
        surges = [surge for surge in frame.surges if category in ("all", surge.category)]
        sentences += [f"forecast raised: {surge.in_words()}" for surge in surges]
        sentences += [best.in_words(frame.spec.grid)] if best else []
        own = max((place.days for place in frame.unusual if place.category == category), default=0)
        middle = (
            geohash(*np.mean(np.take(frame.spec.grid.centres(), best.cells(frame.spec.grid), 1), 1), 8) if best else ""
        )
        yield (
            f"unusual,category={category},region={frame.spec.region} days={days},hours={hours},observed={observed},"
            f"usual={usual},own_days={float(own)},silent={float(max((feed.usual for feed in silent), default=0))},"
            f"raised={float(max((max(surge.factors) for surge in surges), default=1))},"
            f'says="{"; ".join(sentences)}",middle="{middle}",model="{frame.model}" {frame.tick_s}'
        )


def plain_tops(view, top_k):
    """The cells in the order of a plain sort: by risk, then by what is expected, then by their place."""
    spec = view.spec
    ids, geohashes, groups = spec.grid.cell_ids(), spec.grid.geohashes(), ATTRIBUTION_GROUPS
    for c, h in np.ndindex(view.risk.shape[1:]):
        risk, expected, usual = (getattr(view, name)[:, c, h].tolist() for name in ("risk", "expected", "usual"))
        order = sorted(range(len(ids)), key=lambda cell: (-risk[cell], -expected[cell], cell))
        for rank, cell in enumerate(order[:top_k], start=1):
            lift = np.float32(max(expected[cell], np.float32(1e-6))) / np.float32(max(usual[cell], np.float32(1e-6)))
            factors = view.attribution[rank - 1, c, h].tolist() if rank <= len(view.attribution) else []
            by = "".join(f",by_{name}={factor:.4g}" for name, factor in zip(groups, factors, strict=False))
            yield (
                f"top,category={view.categories[c]},horizon={spec.horizon_names[h]},rank={rank:02d},"
                f"region={spec.region} expected={rounded(expected[cell])},risk={rounded(risk[cell])},"
                f'usual={rounded(usual[cell])},lift={float(lift):.4g}{by},cell="{ids[cell]}",'
                f'geohash="{geohashes[cell]}",support="{SUPPORT[view.support[cell, c]]}",model="{view.model}" '
                f"{view.tick_s}"
            )


LABELS = ("region", "outcome", "reason", "version", "phase")


def scraped(address):
    """(text, {(figure without our prefix, *labels): value}) of `http://address/metrics`."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    figures = {
        (sample.name.removeprefix("incident_risk_"), *(sample.labels[one] for one in LABELS if one in sample.labels)): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return text, figures
