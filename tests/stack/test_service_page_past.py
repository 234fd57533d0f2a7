"""The last day on the live map: by slider and keys, never to be taken for now, and without a call."""

import threading
import time

from schemas.frame import Unusual, keep_hour
from schemas.spec import HOUR_S
from tests.harness.browser import is_followed, the_service
from tests.harness.service import leave_frame, running

GIVEN = {"rows": 1, "cols": 1, "hours": 1, "usual": 0.1, "days": 40.0, "observed": 5}
THEN, NEW = (Unusual(category=name, row=row, col=1, **GIVEN) for name, row in (("theft", 1), ("battery", 4)))
WAIT = (
    "const wait = (s) => new Promise((done) => setTimeout(done, 1000 * s)); const at = document.getElementById('at');"
)
WAIT += "for (let tries = 0; tries < 50 && !+at.max; tries++) await wait(0.1);"
# Scripts: to the hour that is so many before now, and then, told, what the page says when it has gone back to now.
GO = WAIT + "at.value = at.max - {}; at.dispatchEvent(new Event('input')); await wait(1.5);"
HIDDEN = "return ['caption', 'top'].map((id) => getComputedStyle(document.getElementById(id)).visibility);"
BACK = (
    GO
    + """const said = [document.title, document.body.dataset.state];
document.getElementById('now').click(); await wait(1.5);
return [...said, document.title, document.body.dataset.state];"""
)


def leave_day(folder):
    """An hour with an unusual place, one that is missing, one without, and now."""
    full_s = int(time.time()) // HOUR_S * HOUR_S
    for ago, unusual in ((3, (THEN,)), (1, ())):
        leave_frame(folder, age_s=int(time.time()) - (full_s - ago * HOUR_S) - 4, unusual=unusual)
        keep_hour(folder, "riverton", full_s - ago * HOUR_S)
    leave_frame(folder, unusual=())


def test_the_past_is_shown_as_it_was_and_said_everywhere_and_what_is_missing_too(browser, page_folder):
    leave_day(page_folder)
    with running(the_service(page_folder)) as base:
        now, then, missing, phone, forced, back = browser(
            {"url": f"{base}/", "axe": True},
            {"url": f"{base}/", "does": GO.format(4), "axe": True},  # the current hour and two more are after it
            {"url": f"{base}/", "does": GO.format(3) + HIDDEN, "axe": True, "theme": "dark"},
            {"url": f"{base}/", "does": GO.format(4), "width": 390, "height": 844, "axe": True, "theme": "dark"},
            {"url": f"{base}/", "does": GO.format(4), "forced": True},
            {"url": f"{base}/", "does": BACK.format(4)},
        )
    assert (now["state"], now["caption"][:14]) == ("live", "Nothing stands")
    for page in (then, phone, forced):
        assert page["state"] == "past"
        assert page["title"].startswith("PAST ")
        assert page["caption"].startswith("More than usual: theft at r001c001")
        assert (page["decide"], page["veil"]) == (None, None)
    assert then["share"] > now["share"] - 0.04  # its headline may take a second line
    assert missing["state"] == "gone"
    assert "no frame of it was kept" in missing["veil"]
    assert missing["told"] == ["hidden", "hidden"]  # nothing of another hour stands there
    assert [page["axe"] for page in (now, then, missing, phone)] == [[], [], [], []]
    title, state, *at_last = back["told"]
    assert (title[:5], state) == ("PAST ", "past")
    assert at_last == ["riverton · Incident risk", "live"]
    assert back["caption"] == now["caption"]


def test_nobody_is_called_while_the_past_is_looked_at_and_what_came_meanwhile_calls_after_it(browser, page_folder):
    leave_day(page_folder)
    counts = "let tones = 0; const Real = OscillatorNode; globalThis.OscillatorNode = class extends Real {"
    counts += "constructor(...given) { super(...given); tones++; } };"
    counts += f"document.getElementById('call').click(); tones = 0; {GO.format(4)}"
    counts += "new EventSource('v1/stream'); await wait(4); const quiet = [tones, document.title.slice(0, 5)];"
    counts += "document.getElementById('now').click(); await wait(2); return [...quiet, tones, document.title];"

    def leave_another():
        is_followed(base, streams=2)
        time.sleep(3)  # while the page is in the past
        leave_frame(page_folder, unusual=(NEW,))

    with running(the_service(page_folder)) as base:
        thread = threading.Thread(target=leave_another)
        thread.start()
        (page,) = browser({"url": f"{base}/", "does": counts})
        thread.join()
    assert page["told"] == [0, "PAST ", 2, "(1) riverton · Incident risk"]
