"""What must hold of the scores that a scenario leaves behind: each tick's frame, the models in force, the top ranks."""

import math
from collections import defaultdict

from tests.faults.oracle import DISPERSION, MANY, quantile
from tests.harness.points import tags_of

VALUES = ("expected", "risk", "low", "high", "usual")
MADE_BY = ("here", "next_door", "level", "memory", "time", "network")
ALL = "all"  # the series over all categories
SUPPORT = ('"no_history"', '"sparse"', '"ok"')
TOP = 10  # ranks of a category and horizon
LIMIT = math.exp(2)  # by which a network may correct what is usual
ROUNDED = 6e-4  # four significant digits are written


def frames_of(points):
    """(region, tick in s) -> {(cell, category, horizon): fields} of the `risk` points."""
    frames = defaultdict(dict)
    for (key, time_s), fields in points.items():
        if key.startswith("risk,"):
            tags = tags_of(key)
            frames[tags["region"], time_s][tags["cell"], tags["category"], tags["horizon"]] = fields
    return frames


def frames_first_written(written):
    """As `frames_of`, whatever has overwritten them since."""
    first = {}
    for key, time_s, fields in written:
        first.setdefault((key, time_s), fields)
    return frames_of(first)


def frame_breaches(frame, tick_s, moment, versions):
    """Every tick's frame: complete, by one model that was in force, and each score as recounted."""
    region = moment.region
    kinds = (*region.categories, ALL)
    wanted = {(cell, kind, hor) for cell in region.cells for kind in kinds for hor in region.horizons}
    where = f"{region.name} at {tick_s}"
    if missing := wanted - set(frame):
        yield f"I4: {where}: {len(missing)} points missing, as {min(missing)}"
    if more := set(frame) - wanted:
        yield f"I4: {where}: {len(more)} points too many, as {min(more)}"
    models = {fields["model"] for fields in frame.values()}
    if len(models) > 1 or not models <= {f'"{version}"' for version in versions}:
        yield f"I8: {where} was made by {sorted(models)}, published are {versions}"
    observed, remembered, per_day = moment.observed_1h(), moment.remembered(), moment.per_day()
    for (cell, category, horizon), fields in frame.items():
        place, name = (cell, category), f"{where}, {cell} {category} {horizon}"
        if category == ALL:
            yield from _sum(fields, [frame.get((cell, kind, horizon)) for kind in region.categories], name)
            continue
        yield from _score(fields, name)
        if place not in per_day:
            continue
        if float(fields["observed_1h"]) != observed[place]:
            yield f"I1: {name}: observed_1h is {fields['observed_1h']}, recounted {observed[place]}"
        if fields["support"] != (support := _support(remembered[place])):
            yield f"I8: {name}: support is {fields['support']}, recounted {support}"
        usual = per_day[place] / 24 * int(horizon.removesuffix("h"))
        if not _equal(float(fields["usual"]), usual):
            yield f"I1: {name}: usual is {fields['usual']}, recounted {usual:.6g}"


def version_breaches(frames, versions):
    """I7, I8: a newer artifact takes over and stays."""
    for name, made in versions.items():
        order = {f'"{version}"': number for number, version in enumerate(made)}
        models = [min(one["model"] for one in frames[place].values()) for place in sorted(frames) if place[0] == name]
        in_force = [order.get(model, -1) for model in models]
        if in_force != sorted(in_force) or in_force[-1:] != [len(made) - 1]:
            yield f"I8: {name} was made by {models}, one after another; in force at last is {made[-1]}"


def _support(remembered):
    return SUPPORT[(remembered > 0) + (remembered >= MANY)]


def _score(fields, name):
    """Within itself: the network corrects what is usual, and the rest follows from the mean. I6 knows the mean."""
    expected, risk, low, high, usual = (float(fields[value]) for value in VALUES)
    if not all(math.isfinite(value) and value >= 0 for value in (expected, risk, low, high, usual)) or risk > 1:
        yield f"I8: {name}: not a score: {fields}"
        return
    if not usual / LIMIT * (1 - ROUNDED) - 1e-6 <= expected <= usual * LIMIT * (1 + ROUNDED) + 1e-6:
        yield f"I8: {name}: expected {expected} is no correction of usual {usual}"
    if not _equal(risk, 1 - (1 + expected / DISPERSION) ** -DISPERSION, 2 * ROUNDED):  # of two that were rounded
        yield f"I8: {name}: risk {risk} with expected {expected}"
    yield from _interval(expected, low, high, name)


def _interval(expected, low, high, name, size=DISPERSION):
    for value, share in ((low, 0.05), (high, 0.95)):
        ends = (quantile(expected * (1 + side * ROUNDED), share, size) for side in (-1, 1))
        if not next(ends) <= value <= next(ends):
            yield f"I8: {name}: {value} is not the {share} quantile with expected {expected}"
    if low > high:
        yield f"I8: {name}: low {low} above high {high}"


def _sum(fields, parts, name):
    """Of all categories: what adds up adds up, and the rest is that of independent counts."""
    if not all(parts):
        return  # I4 has said so
    sums = {value: sum(float(part[value]) for part in parts) for value in ("expected", "usual", "observed_1h")}
    for value, wanted in sums.items():
        if abs(float(fields[value]) - wanted) > 2 * ROUNDED * wanted + 1e-6 * len(parts):
            yield f"I8: {name}: {value} is {fields[value]}, the categories add up to {wanted}"
    none = math.prod(1 - float(part["risk"]) for part in parts)
    if not _equal(float(fields["risk"]), 1 - none, 2 * ROUNDED):
        yield f"I8: {name}: risk {fields['risk']}, of the categories together {1 - none}"
    if fields["support"] != (best := max((part["support"] for part in parts), key=SUPPORT.index)):
        yield f"I8: {name}: support is {fields['support']}, the best of the categories is {best}"
    spread = sum(float(part["expected"]) ** 2 for part in parts) / DISPERSION
    size = sums["expected"] ** 2 / spread if spread else 1.0
    yield from _interval(sums["expected"], float(fields["low"]), float(fields["high"]), name, size)


def _equal(value, wanted, share=ROUNDED):
    """Four significant digits are written, in steps of 1e-6 below 0.001."""
    return abs(value - wanted) <= share * wanted + 1e-6


def top_breaches(points):
    """I8: `top` is the frame of its tick, sorted."""
    listed, risks = defaultdict(dict), defaultdict(list)
    for (key, time_s), fields in points.items():
        if not key.startswith(("top,", "risk,")):
            continue
        tags = tags_of(key)
        place = tags["region"], time_s, tags["category"], tags["horizon"]
        if key.startswith("top,"):
            listed[place][tags["rank"]] = float(fields["risk"])
            if tags["category"] == ALL:
                continue
            made = math.prod([float(fields["usual"]), *(float(fields[f"by_{name}"]) for name in MADE_BY)])
            if not _equal(made, float(fields["expected"]), 8 * ROUNDED):  # of seven that were rounded, and the eighth
                yield f"I8: {place}, rank {tags['rank']}: usual times what made it is {made}: {fields}"
        else:
            risks[place].append(float(fields["risk"]))
    for place, wanted in risks.items():
        if [risk for _, risk in sorted(listed[place].items())] != sorted(wanted, reverse=True)[:TOP]:
            yield f"I8: top of {place} is {listed[place]}, the highest risks are {sorted(wanted, reverse=True)[:TOP]}"
