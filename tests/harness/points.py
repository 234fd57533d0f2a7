"""Line protocol, read back."""

import re

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
