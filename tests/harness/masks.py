"""Files of masks."""

import json


def mask_file(path, *rings):
    """Write a GeoJSON file with a polygon for each closed ring of (lon, lat), and give the path."""
    features = [
        {"type": "Feature", "properties": None, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for ring in rings
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return path


def box(west, south, east, north):
    """Closed ring of a rectangle in degrees."""
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]
