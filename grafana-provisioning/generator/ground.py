"""What a map draws beside the scores: plain land, streets and outlines."""

from generator.looks import GREY, RED, STALE, Json

NO_SCORE = "#80889030"  # faint on light and dark ground


def land() -> Json:
    """Tiles without anything on them: the ground is the panel's, light or dark as Grafana is."""
    return {"type": "xyz", "name": "Land", "config": {"url": "public/cells/_ground.svg", "attribution": ""}}


def tiles() -> Json:
    """Streets from the internet. `cells --streets FILE` puts a file in their place."""
    config = {"theme": "auto", "showLabels": True}
    return {"type": "carto", "name": "Streets", "tooltip": False, "config": config}


def cells() -> Json:
    """Every cell of the region: what has no colour of its own is grey."""
    style = {"color": {"fixed": NO_SCORE}, "opacity": 1, "lineWidth": 0.5}  # 1: as opaque as the colour says
    config = {"src": "public/cells/${region}.geojson", "rules": [], "style": style}
    return {"type": "geojson", "name": "All cells of the region, grey", "tooltip": False, "config": config}


def lines() -> Json:
    """The lines around the region and each area lie above the cells, in a colour that none of them has."""
    style = {"color": {"fixed": GREY}, "opacity": 1, "lineWidth": 2}
    config = {"src": "public/cells/_lines-${region}.geojson", "rules": [], "style": style}
    return {"type": "geojson", "name": "Border and areas", "tooltip": False, "config": config}


def coloured(field: str, *beneath: Json) -> list[Json]:
    """The layers of a map whose cells have the colours of `field`: of query A, with `geohash`.

    beneath: layers that show where no cell has a colour.
    """
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
            "dataStyle": {"color": colour, "opacity": 1},
        },
    }
    return [tiles(), cells(), centres, *beneath, scored, lines()]


def stale() -> Json:
    """The word across the map: query C gives a row, with `middle`, only while the scores are stale."""
    return {
        "type": "markers",
        "name": "Stale",
        "filterData": {"id": "byRefId", "options": "C"},
        "location": {"mode": "geohash", "geohash": "middle"},
        "tooltip": False,
        "config": {
            "showLegend": False,
            "style": {
                "color": {"fixed": RED},
                "opacity": 0,
                "size": {"fixed": 2, "min": 2, "max": 2},
                "symbol": {"mode": "fixed", "fixed": "img/icons/marker/square.svg"},
                "text": {"mode": "fixed", "fixed": STALE},
                "textConfig": {"fontSize": 48, "textAlign": "center", "textBaseline": "middle"},
            },
        },
    }
