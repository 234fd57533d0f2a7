"""Events for load: valid, of realistic size, and cheap enough to make that Kafka is the limit."""

from collections.abc import Iterator, Sequence

import numpy as np

from schemas.spec import Spec

_CHUNK = 10_000
_EVENT = (
    b'{"incident_id":"synthetic-%012d","region":"%s","occurred_at":"%sZ","category":"%s","lat":%.6f,"lon":%.6f,'
    b'"origin":"public_call","revision":0,"status":"open","received_at":"%sZ","type_code":"%s","priority":%d}'
)


def synthetic_events(specs: Sequence[Spec], n: int, *, seed: int, as_of_s: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of `n` new incidents of the regions in turn, about 280 bytes each.

    They occurred in the hour before `as_of_s`, were received within a minute (not after as_of_s), and
    lie around the grid's middle as a town does. Ids are unique within one seed.
    """
    random = np.random.default_rng(seed)
    first = seed * 10_000_000_000
    regions = [(spec.region.encode(), list(map(str.encode, spec.categories)), *_box(spec)) for spec in specs]
    for start in range(0, n, _CHUNK):
        size = min(_CHUNK, n - start)
        row, col = np.clip(random.normal(0.5, 0.18, (2, size)), 0.001, 0.999).tolist()
        occurred = as_of_s - random.integers(0, 3600, size)
        received = np.minimum(occurred + random.integers(1, 60, size), as_of_s)
        occurred_text = np.datetime_as_string(occurred.astype("datetime64[s]")).astype("S").tolist()
        received_text = np.datetime_as_string((received * 1000).astype("datetime64[ms]")).astype("S").tolist()
        category = random.integers(0, 64, size).tolist()
        kind = random.integers(0, 100, size).tolist()
        for i in range(size):
            region, categories, south, west, height, width = regions[(start + i) % len(regions)]
            number = first + start + i
            yield (
                b"synthetic-%012d" % number,
                _EVENT
                % (
                    number,
                    region,
                    occurred_text[i],
                    categories[category[i] % len(categories)],
                    south + row[i] * height,
                    west + col[i] * width,
                    received_text[i],
                    b"CALL-TYPE-%02d" % kind[i],
                    1 + kind[i] % 5,
                ),
            )


def _box(spec: Spec) -> tuple[float, float, float, float]:
    """South, west, height and width of the grid in degrees."""
    lat, lon = spec.grid.corners()
    return float(lat[0]), float(lon[0]), float(lat[-1] - lat[0]), float(lon[-1] - lon[0])
