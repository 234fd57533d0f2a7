"""Line protocol, read back."""

import re

FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^,]+)')


def points_in(text):
    """(measurement and tags, time in s, {field: text}) of each line."""
    for line in text.splitlines():
        key, rest = line.split(" ", 1)
        fields, time_s = rest.rsplit(" ", 1)
        yield key, int(time_s), dict(FIELD.findall(fields))


def stored_points(writes):
    """(measurement and tags, time) -> fields, later lines over earlier ones, as a store would have them."""
    points = {}
    for key, time_s, fields in points_in(b"".join(writes).decode()):
        points.setdefault((key, time_s), {}).update(fields)
    return points
