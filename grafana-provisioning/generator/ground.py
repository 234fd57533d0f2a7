"""What a map draws beside the scores: plain land, streets and outlines."""

from collections.abc import Sequence

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


def coloured(field: str, *, beneath: Sequence[Json] = (), above: Sequence[Json] = ()) -> list[Json]:
    """The layers of a map whose cells have the colours of `field`: of query A, with `geohash`.

    beneath: layers that show where no cell has a colour. above: layers that no cell hides.
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
    return [tiles(), cells(), centres, *beneath, scored, lines(), *above]


def stale() -> Json:
    """The word across the map: query C gives a row only while the scores are stale."""
    return _mark("Stale", "C", RED, text={"mode": "fixed", "fixed": STALE}, font_px=48)


def unusual() -> list[Json]:
    """How many incidents were counted in the unusual place of query D: a number in a ring, on a disk of the ground."""
    counted = {"mode": "field", "field": "observed"}
    return [
        _mark("Beneath the number", "D", "panel-bg", radius_px=22, opacity=0.75),
        _mark("More than usual", "D", "text", radius_px=22, text=counted, font_px=24, tooltip=True),
    ]


def _mark(
    name: str,
    query: str,
    colour: str,
    *,
    radius_px: int = 1,
    opacity: float = 0,
    text: Json | None = None,
    font_px: int = 12,
    tooltip: bool = False,
) -> Json:
    """A circle and a text at the `middle` of each row of a query."""
    style = {
        "color": {"fixed": colour},
        "opacity": opacity,
        "lineWidth": 3,
        "size": {"fixed": radius_px, "min": 1, "max": radius_px},
        "symbol": {"mode": "fixed", "fixed": "img/icons/marker/circle.svg"},
        "textConfig": {"fontSize": font_px, "textAlign": "center", "textBaseline": "middle"},
    }
    return {
        "type": "markers",
        "name": name,
        "filterData": {"id": "byRefId", "options": query},
        "location": {"mode": "geohash", "geohash": "middle"},
        "tooltip": tooltip,
        "config": {"showLegend": False, "style": style | ({"text": text} if text else {})},
    }
