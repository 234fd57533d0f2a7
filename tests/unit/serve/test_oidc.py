"""Which JSON web tokens open the service, and what they open: real tokens of a real provider on this machine."""

import base64
import hashlib
import hmac
import json
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from joserfc import jwt

from streaming.serve import oidc
from streaming.serve.oidc import Keys, provider_of
from streaming.serve.tokens import Tokens, make_token
from tests.harness.oidc import (
    AUDIENCE,
    CLAIMS,
    CURVE,
    EDWARDS,
    ISSUER,
    NEXT,
    NOW_S,
    OURS,
    SECRET,
    STRANGER,
    found_provider,
    provider_with,
    public,
    signed,
)
from tests.harness.service import Client, leave_frame, running, toy_service


def by_hand(header, *, sign=lambda text: b""):
    """A token that no library makes."""

    def part(content):
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    text = b".".join(part(json.dumps(one).encode()) for one in (header, CLAIMS))
    return b".".join([text, part(sign(text))]).decode()


@pytest.fixture(scope="module")
def provider():
    keys = Keys(lambda: public(OURS, CURVE, EDWARDS), 3600, time.monotonic)
    keys.look()
    return provider_with(keys)


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
    later = provider_with(provider.keys, now_s=NOW_S + 700)
    assert later.caller(signed()) is None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60) | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True))
@example("..")
@example("\udc80.a.b")
def test_no_text_breaks_it(provider, text):
    assert provider.caller(text) is None
    assert provider.is_of_unknown_key(text) in (True, False)


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
    alone = found_provider(keys=str(tmp_path / "keys.json"))
    with running(toy_service(tmp_path, provider=alone)) as base:
        assert Client(base).get("/v1/regions").status == 401
        assert Client(base, signed()).get("/v1/regions").status == 200
