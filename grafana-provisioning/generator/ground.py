"""What a map draws beside the scores: plain land, streets and outlines."""

from generator.looks import BLUE, GREY, Json

OPACITY = 0.85  # streets shine through
NO_SCORE, NO_SCORE_OPACITY = "#A9AEB3", 0.5
NO_SCORE_SEEN = "#CDD0D1"  # on the ground, without tiles


def land() -> Json:
    """The ground is as light as the tiles for which the cells' colours are made, also where Grafana is dark.

    On a dark ground brown, the highest, would be the hardest to see.
    """
    return {"type": "xyz", "name": "Land", "config": {"url": "public/cells/_ground.svg", "attribution": ""}}


def tiles() -> Json:
    """Streets from the internet. `cells --streets FILE` puts a file in their place."""
    config = {"theme": "light", "showLabels": True}
    return {"type": "carto", "name": "Streets", "tooltip": False, "config": config}


def cells() -> Json:
    """Every cell of the region: what has no colour of its own is grey."""
    style = {"color": {"fixed": NO_SCORE}, "opacity": NO_SCORE_OPACITY, "lineWidth": 0.5}
    config = {"src": "public/cells/${region}.geojson", "rules": [], "style": style}
    return {"type": "geojson", "name": "All cells of the region, grey", "tooltip": False, "config": config}


def lines() -> Json:
    """The lines around the region and each area lie above the cells, in a colour that none of them has."""
    style = {"color": {"fixed": BLUE}, "opacity": 1, "lineWidth": 2}
    config = {"src": "public/cells/_lines-${region}.geojson", "rules": [], "style": style}
    return {"type": "geojson", "name": "Border and areas", "tooltip": False, "config": config}


def coloured(field: str) -> list[Json]:
    """The layers of a map whose cells have the colours of `field`: query A gives it, `cell` and `geohash`."""
    colour = {"field": field, "fixed": GREY}
    centres = {
        "type": "markers",  # not seen: the view fits itself to them
        "name": "Centres of cells",
        "filterData": {"id": "byRefId", "options": "A"},
        "location": {"mode": "geohash", "geohash": "geohash"},
        "tooltip": True,
        "config": {
            "showLegend": False,
            "style": {
                "color": colour,
                "opacity": 0,
                "size": {"fixed": 4, "min": 2, "max": 8},
                "symbol": {"mode": "fixed", "fixed": "img/icons/marker/square.svg"},
            },
        },
    }
    scored = {
        "type": "dynamic-geojson",  # of all rows, so that it takes B's where A has none
        "name": "Cells with a colour",
        "tooltip": True,
        "config": {
            "src": "public/cells/_all.geojson",
            "idField": "geohash",
            "rules": [],
            "style": {"color": {"fixed": "transparent"}, "opacity": 0, "lineWidth": 0},
            "dataStyle": {"color": colour, "opacity": OPACITY},
        },
    }
    return [tiles(), cells(), centres, scored, lines()]
