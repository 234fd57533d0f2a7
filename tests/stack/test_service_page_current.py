"""Is the live map current? It says so itself, in a real browser.

Then its last day, never to be taken for now, and signing in, and how that ends.
"""

import os
import re
import signal
import threading
import time

import msgspec
import pytest

from schemas.frame import Unusual, keep_hour
from schemas.records import Withheld, withheld_path
from schemas.spec import HOUR_S
from service.tokens import Tokens, make_token
from streaming.rehearse.broker import free_port
from tests.harness.browser import chooses, is_followed, the_service
from tests.harness.service import Client, is_there, leave_frame, running, waited
from tests.harness.toy import toy_grid

OLD = "20240101T000000Z-0a1b2c3d"  # a model


def leave_when_followed(base, page_folder):
    """Another frame, once a page has drawn the first and follows the stream."""
    if is_followed(base):
        leave_frame(page_folder, seed=8)


def test_an_old_frame_is_grey_and_says_stale_in_large_letters(browser, page_folder):
    leave_frame(page_folder, age_s=900, model=OLD)
    with running(the_service(page_folder)) as base:
        screens = [{"width": 1280, "height": 720}, {"width": 390, "height": 844}]
        pages = browser(*({"url": f"{base}/", "theme": "dark", **screen} for screen in screens))
    for page in pages:
        assert page["state"] == "stale"
        assert "STALE – last score" in page["banner"]
        assert "15 min ago" in page["banner"]
        assert page["veil"].startswith("STALE")
        assert page["title"].startswith("STALE · ")
        assert page["label"].startswith("STALE – last score")
        assert page["expired"].startswith("EXPIRED: the model was made ")
    assert pages[0]["card"] <= pages[0]["footer"]  # nothing covers anything


def test_scores_that_are_withheld_leave_an_open_page_and_come_back(browser, page_folder):
    leave_frame(page_folder)
    word = Withheld(since_s=1_764_000_000, because="the council asked for it")
    with running(the_service(page_folder)) as base:

        def withhold_from_an_open_page():
            is_followed(base)
            withheld_path(page_folder).write_bytes(msgspec.json.encode(word))

        threading.Thread(target=withhold_from_an_open_page).start()
        until_it_goes = "await new Promise((done) => setTimeout(done, 15000));"
        shown, again = {"url": f"{base}/", "does": until_it_goes}, {"url": f"{base}/"}
        (withheld,) = browser(shown)
        withheld_path(page_folder).unlink()
        assert waited(lambda: Client(base).json("/v1/regions")["regions"][0]["withheld"] is None)
        (live,) = browser(again)
    assert withheld["state"] == "withheld"
    assert withheld["banner"] == word.in_words().replace("scores", "Scores", 1)
    assert not withheld["total"]
    assert live["state"] == "live"
    assert live["total"]


def test_a_question_that_fails_is_asked_again_and_the_picture_before_it_is_grey(browser, page_folder):
    leave_frame(page_folder)
    pause = "await new Promise((done) => setTimeout(done, 300));"
    lost = "const real = window.fetch; window.fetch = () => Promise.reject(new Error('lost')); "
    lost += "document.getElementById('horizon-4h').click(); "
    lost += f"for (let i = 0; i < 20 && document.body.dataset.state !== 'behind'; i++) {pause}"
    answered = (
        f"{lost} window.fetch = real; for (let i = 0; i < 40 && document.body.dataset.state !== 'live'; i++) {pause}"
    )
    with running(the_service(page_folder)) as base:
        gone, back = browser(*({"url": f"{base}/#measure=risk", "does": does} for does in (lost, answered)))
    assert (gone["caption"], gone["state"]) == ("Risk: all categories, next 1 h", "behind")
    assert gone["veil"].startswith("PREVIOUS CHOICE")
    assert "still riverton, all categories, 1 h, whole region, not what you chose" in gone["banner"]
    assert "horizon=4h" in gone["hash"]
    assert (back["caption"], back["state"]) == ("Risk: all categories, next 4 h", "live")


def test_a_region_without_streets_is_shown_when_it_is_chosen(browser, page_folder):
    leave_frame(page_folder, "riverton")
    leave_frame(page_folder, "lakeside", grid=toy_grid(4, 4, south_deg=43.6, west_deg=-80.0))
    chosen = chooses("region", "lakeside")
    with running(the_service(page_folder)) as base:
        (page,) = browser({"url": f"{base}/#region=riverton", "does": chosen})
        scores = Client(base).json("/v1/regions/lakeside/scores")["cells"]
    assert (page["state"], page["title"], page["credit"]) == ("live", "lakeside · Incident risk", None)
    assert f"expected {sum(row['expected'] for row in scores):.1f}" in page["total"]


def test_the_baseline_is_announced_with_its_reason(browser, page_folder):
    leave_frame(page_folder, model="baseline:weights are damaged")
    with running(the_service(page_folder)) as base:
        (page,) = browser({"url": f"{base}/"})
    assert page["state"] == "live"
    assert page["fallback"].startswith("Baseline only: ")
    assert "(weights are damaged)" in page["fallback"]


def test_scores_that_are_ahead_of_the_screens_clock_are_in_doubt(browser, page_folder):
    leave_frame(page_folder, age_s=-600)
    with running(the_service(page_folder)) as base:
        (page,) = browser({"url": f"{base}/"})
    assert (page["state"], page["veil"].split("\n")[0]) == ("doubt", "CHECK CLOCK")


def test_the_address_of_another_region_never_shows_the_map_of_the_one_before(browser, page_folder):
    for region in ("lakeside", "riverton"):
        leave_frame(page_folder, region)
    goes = "setTimeout(() => { location.hash = 'region=lakeside'; });"
    goes += "await new Promise((done) => setTimeout(done, 9000));"  # ends with the page
    with running(the_service(page_folder)) as base:
        (went,) = browser({"url": f"{base}/#region=riverton", "does": goes})
        (absent,) = browser({"url": f"{base}/?view=wall#region=nowhere"})
        choose = chooses("region", "lakeside")
        (chosen,) = browser({"url": f"{base}/#region=nowhere", "does": choose})
    assert (went["state"], went["label"].split(":")[0]) == ("live", "lakeside")
    assert (absent["state"], absent["total"]) == ("missing", "")
    assert absent["banner"].startswith("No scores of nowhere here: ")
    assert (chosen["state"], chosen["label"].split(":")[0]) == ("live", "lakeside")


def test_a_new_frame_is_drawn_by_itself(browser, page_folder):
    first = leave_frame(page_folder)[1]
    wait = "const now = () => document.getElementById('total').textContent, old = now();"
    wait += "for (let i = 0; i < 80 && now() === old; i++) await new Promise((done) => setTimeout(done, 100));"
    with running(the_service(page_folder)) as base:
        leaving = threading.Thread(target=leave_when_followed, args=(base, page_folder))
        leaving.start()
        (page,) = browser({"url": f"{base}/", "does": wait})
        leaving.join()
        second = Client(base).json("/v1/regions/riverton/scores")
    totals = [float(first.expected[:, 0, 0].sum()), sum(row["expected"] for row in second["cells"])]
    assert abs(totals[0] - totals[1]) > 0.1
    assert f"expected {totals[1]:.1f}" in page["total"]


@pytest.mark.nightly
def test_a_service_that_hangs_is_no_longer_live_within_half_a_minute(browser, page_folder, commands):
    """Its connections stay open, and the browser calls the stream open, too."""
    leave_frame(page_folder)
    port, stopped_s = free_port(), []
    words = ("serve", "--listen", f"127.0.0.1:{port}")
    with (page_folder / "log").open("wb") as log:
        process = commands.popen(
            "incident_risk", *words, out=(log, log), env={**os.environ, "RISK_FRAMES": str(page_folder)}
        )

    def hang():
        leave_when_followed(f"http://127.0.0.1:{port}", page_folder)
        time.sleep(3)
        process.send_signal(signal.SIGSTOP)
        stopped_s.append(time.time())

    left = "while (document.body.dataset.state === 'live') await new Promise((done) => setTimeout(done, 100));"
    left += "history.replaceState(null, '', '#' + Date.now());"
    try:
        assert waited(lambda: is_there(Client(f"http://127.0.0.1:{port}")))
        thread = threading.Thread(target=hang)
        thread.start()
        (page,) = browser({"url": f"http://127.0.0.1:{port}/", "does": left})
        thread.join()
    finally:
        process.kill()
        process.wait()
    assert (page["state"], page["veil"].split("\n")[0]) == ("cut", "NO CONNECTION")
    assert 15 < int(page["hash"][1:]) / 1000 - stopped_s[0] < 30


def test_no_decision_is_offered_on_a_replay_or_on_stale_or_expired_scores(browser, page_folder):
    leave_frame(page_folder, "nowton")
    leave_frame(page_folder, "replayton", age_s=900, clock="event")
    leave_frame(page_folder, "staleton", age_s=900)
    leave_frame(page_folder, "oldton", model=OLD)
    with running(the_service(page_folder)) as base:
        regions = ("nowton", "replayton", "staleton", "oldton")
        pages = browser(*({"url": f"{base}/#measure=risk&cell=r001c001&region={region}"} for region in regions))
    assert [page["state"] for page in pages] == ["live", "replay", "stale", "live"]
    assert pages[0]["decide"].startswith("Decide on all categories at r001c001")
    assert [page["decide"] for page in pages[1:]] == [None] * 3


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


def test_with_tokens_a_person_signs_in_and_out(browser, page_folder):
    leave_frame(page_folder)
    token = make_token(page_folder / "tokens.jsonl", "desk", [])
    with running(the_service(page_folder, tokens=Tokens(page_folder / "tokens.jsonl"))) as base:
        client = Client(base)
        closed = client.ask("/", redirect=False)
        assert (closed.status, closed.headers["Location"]) == (303, "login")
        assert b"not known" in client.ask("/login", method="POST", fields={"token": "x"}, encode_multipart=False).data
        opened = client.ask("/login", method="POST", fields={"token": token}, encode_multipart=False, redirect=False)
        assert opened.status == 303
        cookie = next(one for one in opened.headers.getlist("Set-Cookie") if one.startswith("risk_token="))
        assert {"HttpOnly", "SameSite=strict", "Max-Age=43200"} <= {part.strip() for part in cookie.split(";")}
        typed = f"document.getElementById('token').value = '{token}'; document.querySelector('form').submit();"
        left = "document.querySelector('#leave').submit();"
        signed_in, signed_out, refused = browser(
            {"url": f"{base}/", "does": typed},
            {"url": f"{base}/", "cookie": token, "does": left},
            {
                "url": f"{base}/login",
                "does": "document.getElementById('token').value = 'x'; document.forms[0].submit();",
            },
        )
    assert signed_in["state"] == "live"
    assert re.fullmatch(r"risk_signed_in=\d{10}", signed_in["cookies"])  # no script can read the token
    assert signed_out["path"] == "/login"
    assert refused["path"] == "/login"


def test_a_token_that_ends_is_named_on_the_grey_map_with_a_way_to_sign_in_that_keeps_the_choice(browser, page_folder):
    leave_frame(page_folder)
    path = page_folder / "tokens.jsonl"
    desk, other = (make_token(path, name, []) for name in ("desk", "other"))
    ended = "for (let i = 0; i < 300 && document.body.dataset.state !== 'ended'; i++) "
    ended += "await new Promise((done) => setTimeout(done, 100));"
    again = f"document.getElementById('token').value = '{other}'; document.forms[0].submit();"
    with running(the_service(page_folder, tokens=Tokens(path))) as base:
        first = {"url": f"{base}/#measure=risk&horizon=4h", "cookie": desk}
        removing = threading.Thread(target=remove_when_followed, args=(base, path, other))
        removing.start()
        grey, back = browser(
            {**first, "does": ended},
            {"url": f"{base}/login#measure=risk&horizon=4h", "does": again},
        )
        removing.join()
    assert (grey["state"], grey["veil"].split("\n")[0]) == ("ended", "TOKEN ENDED")
    assert "sign in" in grey["banner"]
    assert grey["veil"].endswith("Sign in")
    assert (back["state"], back["caption"]) == ("live", "Risk: all categories, next 4 h")


def remove_when_followed(base, path, token):
    """The line of the first token, once a page follows the stream."""
    assert is_followed(base, token)
    path.write_text(path.read_text().splitlines()[1] + "\n", encoding="utf-8")


def test_the_end_of_a_sign_in_is_said_an_hour_before_and_put_off_by_its_use(browser, page_folder):
    leave_frame(page_folder)
    token = make_token(page_folder / "tokens.jsonl", "desk", [])
    soon = "document.cookie = `risk_signed_in=${Math.round(Date.now() / 1000 + 1800)}`; "
    soon += "await new Promise((done) => setTimeout(done, 1500));"
    used = f"{soon} document.getElementById('horizon-4h').click(); await new Promise((done) => setTimeout(done, 2500));"
    with running(the_service(page_folder, tokens=Tokens(page_folder / "tokens.jsonl"))) as base:
        warned, stays = browser(*({"url": f"{base}/", "cookie": token, "does": does} for does in (soon, used)))
    assert (warned["state"], warned["ending"][:15]) == ("live", "Signed in until")
    assert stays["ending"] is None
