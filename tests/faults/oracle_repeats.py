"""Which incidents repeat others, for the recount, which imports nothing of the product: every pair is looked at."""

import math

import xxhash


def mark_repeats(known, since_s):
    """Which incidents repeat an earlier one: of their category, at most 200 m away and 15 minutes before.

    In one second the id with the smaller hash is the earlier one. Once the clock has left an incident's time behind,
    it stays what it is. What was forgotten and whose id is used again is asked no more.
    """
    live = [one for key, one in known.items() if isinstance(key, str) and one["counts"]]
    place_in_time = {one["id"]: (one["occurred_s"], xxhash.xxh3_64_intdigest(one["id"].encode())) for one in live}
    for one in live:
        if one["occurred_s"] >= since_s:
            one["repeats"] = any(
                place_in_time[other["id"]] < place_in_time[one["id"]]
                and one["occurred_s"] - other["occurred_s"] <= 900
                and other["category"] == one["category"]
                and metres(other["place"], one["place"]) <= 200
                for other in live
            )


def metres(one, other):
    """Between two places in steps of 1e-7 degrees, along the great circle of a sphere: the angle of two vectors."""
    (lat, lon), (other_lat, other_lon) = ([math.radians(steps / 1e7) for steps in place] for place in (one, other))
    north = math.cos(lat) * math.sin(other_lat) - math.sin(lat) * math.cos(other_lat) * math.cos(other_lon - lon)
    east = math.cos(other_lat) * math.sin(other_lon - lon)
    up = math.sin(lat) * math.sin(other_lat) + math.cos(lat) * math.cos(other_lat) * math.cos(other_lon - lon)
    return 6_371_008.8 * math.atan2(math.hypot(north, east), up)
