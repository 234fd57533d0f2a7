"""Which JSON web tokens open the service, and what they open: real tokens of a real provider on this machine."""

import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from schemas.errors import SettingsError
from streaming.serve import oidc
from streaming.serve.oidc import Keys, Provider, provider_of, public_keys
from streaming.serve.tokens import Tokens, make_token
from streaming.settings import Settings
from tests.harness.service import Client, leave_frame, running, toy_service

NOW_S = 1_800_000_000
AUDIENCE = "incident-risk"
OURS = RSAKey.generate_key(2048, {"kid": "rsa"}, private=True)
CURVE = ECKey.generate_key("P-256", {"kid": "ec"}, private=True)
EDWARDS = OKPKey.generate_key("Ed25519", {"kid": "ed"}, private=True)
NEXT = ECKey.generate_key("P-384", {"kid": "next"}, private=True)
SECRET = OctKey.generate_key(256, {"kid": "oct"})
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa"}, private=True)
ISSUER = "https://login.example.org/fire"


def public(*keys):
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


def signed(key=OURS, algorithm="RS256", *, header=None, **changes):
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "cad",
        "iat": NOW_S - 60,
        "exp": NOW_S + 600,
        "regions": ["riverton"],
    }
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    fields = {"alg": algorithm, "kid": key.kid, **(header or {})}
    return jwt.encode(fields, claims, key, algorithms=[algorithm])


def by_hand(header, *, sign=lambda text: b""):
    """A token that no library makes."""

    def part(content):
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "cad", "exp": NOW_S + 600, "regions": ["riverton"]}
    text = b".".join(part(json.dumps(one).encode()) for one in (header, claims))
    return b".".join([text, part(sign(text))]).decode()


@pytest.fixture(scope="module")
def provider():
    keys = Keys(lambda: public(OURS, CURVE, EDWARDS), 3600, time.monotonic)
    keys.look()
    return Provider(issuer=ISSUER, audience=AUDIENCE, regions_claim="regions", keys=keys, now_s=lambda: NOW_S)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(OURS, "RS256"), (OURS, "RS512"), (OURS, "PS256"), (CURVE, "ES256"), (EDWARDS, "Ed25519")],
)
def test_a_sound_token_opens_its_regions(provider, key, algorithm):
    caller = provider.caller(signed(key, algorithm))
    assert caller.regions == ("riverton",)
    assert caller.may_see("riverton")
    assert not caller.may_see("lakeside")
    assert "cad" not in caller.name


@pytest.mark.parametrize(
    ("claim", "regions"),
    [
        (["riverton", "lakeside"], ("riverton", "lakeside")),
        ("riverton lakeside", ("riverton", "lakeside")),
        (["*"], ()),
        ("*", ()),
    ],
)
def test_the_claim_is_a_list_or_a_text(provider, claim, regions):
    assert provider.caller(signed(regions=claim)).regions == regions


@pytest.mark.parametrize("claim", [None, [], "", ["No Slug"], ["riverton", "*"], {"riverton": 1}, 7, [7], [[]], True])
def test_without_regions_nothing_is_opened(provider, claim):
    assert provider.caller(signed(regions=claim)) is None


WRONG = {
    "another audience": signed(aud="another"),
    "no audience": signed(aud=None),
    "another issuer": signed(iss=f"{ISSUER}/"),
    "no issuer": signed(iss=None),
    "expired": signed(exp=NOW_S - oidc.CLOCKS_DIFFER_S - 1),
    "no end": signed(exp=None),
    "an end that is no number": signed(exp="tomorrow"),
    "not yet": signed(nbf=NOW_S + 3600),
    "nobody": signed(sub=None),
    "somebody else's key of that name": signed(STRANGER),
    "an unknown key": signed(NEXT, "ES384"),
    "no key named": jwt.encode({"alg": "RS256"}, {"iss": ISSUER, "aud": AUDIENCE, "sub": "cad"}, OURS),
    "none": by_hand({"alg": "none", "kid": "rsa"}),
    "the public key as a secret": by_hand(
        {"alg": "HS256", "kid": "rsa"},
        sign=lambda text: hmac.new(OURS.as_pem(private=False), text, hashlib.sha256).digest(),
    ),
    "a secret": signed(SECRET, "HS256"),
    "an algorithm of another key": by_hand({"alg": "ES256", "kid": "rsa"}, sign=lambda text: bytes(64)),
    "a claim that must be understood": by_hand({"alg": "RS256", "kid": "rsa", "crit": ["exp"], "exp": 1}),
    "cut": signed()[:-5],
    "changed": signed().replace(".", ".e", 1),
    "too long": signed(more="x" * oidc.LONGEST_TOKEN),
}


@pytest.mark.parametrize("token", WRONG.values(), ids=WRONG)
def test_a_token_that_is_not_sound_opens_nothing(provider, token):
    assert provider.caller(token) is None


def test_the_passed_clock_decides(provider):
    assert provider.caller(signed(exp=NOW_S + 1))
    later = Provider(
        issuer=ISSUER, audience=AUDIENCE, regions_claim="regions", keys=provider.keys, now_s=lambda: NOW_S + 700
    )
    assert later.caller(signed()) is None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60) | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True))
@example("..")
@example("\udc80.a.b")
def test_no_text_breaks_it(provider, text):
    assert provider.caller(text) is None
    assert provider.is_of_unknown_key(text) in (True, False)


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


class Steady:
    def __init__(self):
        self.s = 100.0

    def __call__(self):
        return self.s


def test_keys_that_changed_are_read_but_not_more_often_than_once_a_minute():
    steady, sets, reads = Steady(), [public(OURS)], []

    def read():
        reads.append(steady.s)
        return sets[-1]

    keys = Keys(read, oidc.KEYS_LAST_S, steady)
    keys.look()
    provider = Provider(issuer=ISSUER, audience=AUDIENCE, regions_claim="regions", keys=keys, now_s=lambda: NOW_S)
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


def found(issuer, keys=""):
    given = provider_of(issuer, AUDIENCE, keys=keys, regions_claim="regions", now_s=lambda: NOW_S, steady_s=Steady())
    given.keys.look()
    return given


def test_the_issuer_names_its_keys(answering):
    base, answers = answering
    about = {"issuer": base, "jwks_uri": f"{base}/keys"}
    answers["/.well-known/openid-configuration"] = (200, json.dumps(about).encode())
    answers["/keys"] = (200, public(OURS))
    assert found(base).caller(signed(iss=base))


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
    assert found(base).keys.by_id == {}
    assert "stay as they are" in caplog.text


def test_keys_are_asked_for_over_tls_only(tmp_path):
    for address in ("http://login.example.org", "ftp://login.example.org/keys", "file:///etc/passwd"):
        with pytest.raises(SettingsError, match="https"):
            found(ISSUER, keys=address)
    with pytest.raises(SettingsError, match="cannot be read"):
        found(ISSUER, keys=str(tmp_path / "none.json"))


@pytest.mark.parametrize("given_", [{"oidc_issuer": ISSUER}, {"oidc_audience": AUDIENCE}])
def test_issuer_and_audience_go_together(given_):
    with pytest.raises(SettingsError, match="RISK_OIDC_AUDIENCE"):
        Settings().with_options(**given_)


def test_the_service_takes_both_kinds_of_token(tmp_path):
    for region in ("riverton", "lakeside"):
        leave_frame(tmp_path, region)
    file = tmp_path / "keys.json"
    file.write_bytes(public(OURS))
    hashed = make_token(tmp_path / "tokens", "desk", ["lakeside"])
    given_ = provider_of(
        ISSUER, AUDIENCE, keys=str(file), regions_claim="regions", now_s=time.time, steady_s=time.monotonic
    )
    times = {"iat": int(time.time()), "exp": int(time.time()) + 600}
    with running(toy_service(tmp_path, tokens=Tokens(tmp_path / "tokens"), provider=given_)) as base:

        def seen(token):
            answer = Client(base, token).get("/v1/regions")
            return (
                [one["region"] for one in json.loads(answer.data)["regions"]] if answer.status == 200 else answer.status
            )

        assert seen(hashed) == ["lakeside"]
        assert seen(signed(**times)) == ["riverton"]
        assert seen(signed(regions="*", **times)) == ["lakeside", "riverton"]
        assert seen(signed(exp=int(time.time()) - 60)) == 401
        assert seen(None) == 401
        assert Client(base, signed(**times)).get("/v1/regions/lakeside/scores").status == 404
        rotated = signed(NEXT, "ES384", **times)
        assert seen(rotated) == 401
        file.write_bytes(public(NEXT))
        time.sleep(1.1)
        assert seen(rotated) == ["riverton"]
        time.sleep(1.1)
        assert seen(signed(**times)) == 401


def test_a_provider_alone_guards_the_service(tmp_path):
    leave_frame(tmp_path)
    (tmp_path / "keys.json").write_bytes(public(OURS))
    alone = found(ISSUER, keys=str(tmp_path / "keys.json"))
    with running(toy_service(tmp_path, provider=alone)) as base:
        assert Client(base).get("/v1/regions").status == 401
        assert Client(base, signed()).get("/v1/regions").status == 200
