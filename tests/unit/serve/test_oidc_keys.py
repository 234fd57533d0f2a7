"""With which keys tokens are checked: where they are found, and when they are read again."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from joserfc.jwk import ECKey

from schemas.errors import SettingsError
from streaming.serve import oidc
from streaming.serve.oidc import Keys, public_keys
from streaming.settings import Settings
from tests.harness.oidc import (
    AUDIENCE,
    CURVE,
    ISSUER,
    NEXT,
    OURS,
    SECRET,
    Steady,
    found_provider,
    provider_with,
    public,
    signed,
)


def test_only_public_keys_that_sign_are_taken():
    other = ECKey.generate_key("P-256", {"kid": "secret things", "use": "enc"}, private=False)
    listed = json.loads(public(OURS, other))["keys"] + [SECRET.as_dict(private=True)]
    nameless = {**json.loads(public(CURVE))["keys"][0]}
    del nameless["kid"]
    assert set(public_keys(json.dumps({"keys": [*listed, nameless]}).encode())) == {"rsa"}


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"keys": 7}', b'{"keys": [7]}', b'{"keys": [{"kid": "a", "kty": "RSA"}]}']
)
def test_what_is_no_set_of_keys_is_refused(content):
    with pytest.raises(SettingsError, match="RISK_OIDC_KEYS"):
        public_keys(content)


def test_keys_that_changed_are_read_but_not_more_often_than_once_a_minute():
    steady, sets, reads = Steady(), [public(OURS)], []

    def read():
        reads.append(steady.s)
        return sets[-1]

    keys = Keys(read, oidc.KEYS_LAST_S, steady)
    keys.look()
    provider = provider_with(keys)
    sets.append(public(NEXT))  # the provider has a new key, and took the old one away
    token = signed(NEXT, "ES384")
    assert provider.is_of_unknown_key(token)
    for _ in range(50):
        steady.s += 1
        keys.look()
        keys.look_again()
    assert len(reads) == 1
    assert provider.caller(token) is None
    steady.s += 10
    keys.look_again()
    assert len(reads) == 2
    assert provider.caller(token)
    assert provider.caller(signed()) is None  # of the key that is gone
    steady.s += oidc.KEYS_LAST_S
    keys.look()
    assert len(reads) == 3


def test_a_provider_that_does_not_answer_leaves_the_keys_before(caplog):
    steady, answers = Steady(), [public(OURS), b"<html>"]
    keys = Keys(lambda: answers.pop(0), 1, steady)
    keys.look()
    steady.s += 1
    keys.look()
    assert set(keys.by_id) == {"rsa"}
    assert "stay as they are" in caplog.text


@pytest.fixture
def answering():
    """(address, what it answers by path) of a provider on this machine."""
    answers = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = answers.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "https://elsewhere.example.org/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", answers
        server.shutdown()
        thread.join()


def test_the_issuer_names_its_keys(answering):
    base, answers = answering
    about = {"issuer": base, "jwks_uri": f"{base}/keys"}
    answers["/.well-known/openid-configuration"] = (200, json.dumps(about).encode())
    answers["/keys"] = (200, public(OURS))
    assert found_provider(base).caller(signed(iss=base))


@pytest.mark.parametrize(
    "about",
    [
        (200, b"{}"),
        (200, b"<html>"),
        (200, json.dumps({"issuer": "https://another.example.org", "jwks_uri": "http://127.0.0.1:1/keys"}).encode()),
        (302, b""),
        (200, b" " * 300_000),
    ],
)
def test_an_issuer_that_does_not_fit_gives_no_keys(answering, about, caplog):
    base, answers = answering
    answers["/.well-known/openid-configuration"] = about
    assert found_provider(base).keys.by_id == {}
    assert "stay as they are" in caplog.text


def test_keys_are_asked_for_over_tls_only(tmp_path):
    for address in ("http://login.example.org", "ftp://login.example.org/keys", "file:///etc/passwd"):
        with pytest.raises(SettingsError, match="https"):
            found_provider(keys=address)
    with pytest.raises(SettingsError, match="cannot be read"):
        found_provider(keys=str(tmp_path / "none.json"))


@pytest.mark.parametrize("given_", [{"oidc_issuer": ISSUER}, {"oidc_audience": AUDIENCE}])
def test_issuer_and_audience_go_together(given_):
    with pytest.raises(SettingsError, match="RISK_OIDC_AUDIENCE"):
        Settings().with_options(**given_)
