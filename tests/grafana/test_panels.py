"""A panel from outside finds its place on a page, and keeps its number wherever it stands."""

from generator.build import COLUMNS, page, stat, text


def page_of(*sizes):
    return page("x", "X", "x", [text(f"panel {n}", "words", size) for n, size in enumerate(sizes)], [])


def places(made):
    return [tuple(panel["gridPos"][name] for name in "xywh") for panel in made["panels"]]


def test_panels_fill_rows_in_their_order_and_the_free_room_beside_a_high_one():
    made = page_of((8, 8), (8, 4), (8, 4), (16, 4), (COLUMNS, 3), (12, 2))
    assert places(made) == [(0, 0, 8, 8), (8, 0, 8, 4), (16, 0, 8, 4), (8, 4, 16, 4), (0, 8, 24, 3), (0, 11, 12, 2)]


def test_an_added_panel_moves_the_others_but_not_the_links_to_them():
    query = 'SELECT "write_retries" FROM "pipeline"'
    added = stat("Retries", "Requests sent again.", (COLUMNS, 4), query, "none", without="STALE")
    before = [text("Words", "words", (12, 5)), text("More", "words", (12, 5))]
    old, new = (page("x", "X", "x", panels, []) for panels in (before, [added, *before]))
    assert places(new) == [(0, 0, 24, 4), (0, 4, 12, 5), (12, 4, 12, 5)]
    assert [panel["id"] for panel in new["panels"][1:]] == [panel["id"] for panel in old["panels"]]
    assert len({panel["id"] for panel in new["panels"]}) == 3
