"""Signing in to the live map in a real browser, and how that ends."""

import re
import threading

from service.tokens import Tokens, make_token
from tests.harness.browser import is_followed, the_service
from tests.harness.service import Client, leave_frame, running


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
