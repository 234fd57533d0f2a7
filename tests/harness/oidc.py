"""An OpenID Connect provider of the tests: its keys, and tokens that it signs."""

import json

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from streaming.serve.oidc import Provider, provider_of

NOW_S = 1_800_000_000
AUDIENCE = "incident-risk"
ISSUER = "https://login.example.org/fire"
OURS = RSAKey.generate_key(2048, {"kid": "rsa"}, private=True)
CURVE = ECKey.generate_key("P-256", {"kid": "ec"}, private=True)
EDWARDS = OKPKey.generate_key("Ed25519", {"kid": "ed"}, private=True)
NEXT = ECKey.generate_key("P-384", {"kid": "next"}, private=True)
SECRET = OctKey.generate_key(256, {"kid": "oct"})
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa"}, private=True)
CLAIMS = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "cad",
    "iat": NOW_S - 60,
    "exp": NOW_S + 600,
    "regions": ["riverton"],
}


def public(*keys):
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


def signed(key=OURS, algorithm="RS256", **changes):
    """A token of these claims. changes: None takes one away."""
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return jwt.encode({"alg": algorithm, "kid": key.kid}, claims, key, algorithms=[algorithm])


def provider_with(keys, now_s=NOW_S):
    return Provider(issuer=ISSUER, audience=AUDIENCE, regions_claim="regions", keys=keys, now_s=lambda: now_s)


class Steady:
    """A clock that stands until a test moves it."""

    def __init__(self):
        self.s = 100.0

    def __call__(self):
        return self.s


def found_provider(issuer=ISSUER, keys=""):
    """With its keys, which it has looked for once. keys: address or file; by default the issuer names it."""
    given = provider_of(issuer, AUDIENCE, keys=keys, regions_claim="regions", now_s=lambda: NOW_S, steady_s=Steady())
    given.keys.look()
    return given
