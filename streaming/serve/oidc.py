"""JSON web tokens of an OpenID provider, beside the file of tokens: checked with the provider's public keys alone."""

import hashlib
import logging
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import urllib3
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key

from schemas.errors import SettingsError
from schemas.spec import Slug
from streaming.serve.tokens import Caller

log = logging.getLogger(__name__)
# A key that anybody may know verifies these, and makes none of them. No HS*: its key would open the service.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
ALL_REGIONS = "*"
CLOCKS_DIFFER_S = 30
KEYS_LAST_S = 3600.0  # of an address; a file is looked at every second
AGAIN_AFTER_S = 60.0  # at the earliest, whoever sends tokens of keys that nobody knows
LONGEST_TOKEN = 8192  # characters
_MOST_BYTES = 256 * 1024
_PATIENCE_S = 5.0
_LOCAL = ("localhost", "127.0.0.1", "::1")
_http = urllib3.PoolManager(retries=False, timeout=_PATIENCE_S)


@dataclass(slots=True)
class Keys:
    """The provider's public keys by their id. `read` gives them as a JWK set; where it fails, those before stay."""

    read: Callable[[], bytes]
    every_s: float
    steady_s: Callable[[], float]  # a clock that is never set back
    by_id: Mapping[str, Key] = field(default_factory=dict)
    _tried_s: float = -math.inf
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def look(self) -> None:
        """Read them when it is time."""
        self._read(self.every_s)

    def look_again(self) -> None:
        """For a key that is not known: the provider may have a new one."""
        self._read(min(AGAIN_AFTER_S, self.every_s))

    def _read(self, after_s: float) -> None:
        with self._reading:  # who comes while they are read has them, too
            if self.steady_s() - self._tried_s < after_s:
                return
            self._tried_s = self.steady_s()
            try:
                self.by_id = public_keys(self.read())
            except SettingsError as error:
                log.warning("the keys of JSON web tokens stay as they are: %s", error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Whose tokens are taken, for whom they must be, and the claim with the regions that one opens."""

    issuer: str
    audience: str
    regions_claim: str
    keys: Keys
    now_s: Callable[[], float]

    def is_of_unknown_key(self, token: str) -> bool:
        key = _key_id(token)
        return key is not None and key not in self.keys.by_id

    def caller(self, token: str) -> Caller | None:
        """Who sent it; None for every token that is not sound in every respect."""
        key = self.keys.by_id.get(_key_id(token) or "")
        if key is None:
            return None
        rules: dict[str, Any] = {
            "iss": {"essential": True, "value": self.issuer},
            "aud": {"essential": True, "value": self.audience},
            "exp": {"essential": True},
            "sub": {"essential": True},
        }
        try:
            claims = jwt.decode(token, key, algorithms=ALGORITHMS).claims
            jwt.JWTClaimsRegistry(now=lambda: int(self.now_s()), leeway=CLOCKS_DIFFER_S, **rules).validate(claims)
            regions = _regions(claims.get(self.regions_claim))
        except (JoseError, ValueError, TypeError):
            return None
        subject = hashlib.sha256(f"{self.issuer} {claims['sub']}".encode("utf-8", "surrogateescape")).hexdigest()
        return Caller(name=f"jwt-{subject[:16]}", sha256=subject, regions=regions)  # no name of a person


def provider_of(
    issuer: str,
    audience: str,
    *,
    keys: str,
    regions_claim: str,
    now_s: Callable[[], float],
    steady_s: Callable[[], float],
) -> Provider:
    """On these clocks: the time, and one that is never set back.

    keys: path or address of the JWK set; where it is empty, the issuer names the address.

    Raises SettingsError for an address that is not safe, and for a file that cannot be used.
    """
    if keys and "://" not in keys:
        path, every_s = Path(keys), 1.0
        public_keys(_file(path))  # a mistake in it is said now, not in every answer
        read = lambda: _file(path)  # noqa: E731
    else:
        every_s = KEYS_LAST_S
        _refuse_unsafe(keys or issuer)
        read = (lambda: _fetched(keys)) if keys else (lambda: _fetched(_named_by(issuer)))
    return Provider(
        issuer=issuer,
        audience=audience,
        regions_claim=regions_claim,
        keys=Keys(read, every_s, steady_s),
        now_s=now_s,
    )


def public_keys(content: bytes) -> dict[str, Key]:
    """The keys of a JWK set that sign, by id; secret ones are left out, as are those without an id.

    Raises SettingsError.
    """
    try:
        listed = msgspec.json.decode(content, type=dict[str, Any])["keys"]
        found = {one["kid"]: import_key(one) for one in listed if one.get("kid") and one.get("kty") != "oct"}
    except (KeyError, TypeError, AttributeError, ValueError, JoseError) as error:
        fault = f"these are no keys of a JWK set ({type(error).__name__})"
        raise SettingsError(fault, "set RISK_OIDC_KEYS to the provider's jwks_uri, or a copy of it") from error
    return {
        name: key
        for name, key in found.items()
        if isinstance(key, RSAKey | ECKey | OKPKey) and key.get("use", "sig") == "sig"
    }


def _key_id(token: str) -> str | None:
    """The key that a token names in its header, before anything of it is believed; None for what is no such token."""
    if len(token) > LONGEST_TOKEN or token.count(".") != 2:
        return None
    try:
        named = jws.extract_compact(token.encode()).headers().get("kid")
    except (JoseError, ValueError, TypeError):
        return None
    return named if isinstance(named, str) else None


def _regions(claim: object) -> tuple[str, ...]:
    """As of a `Caller`: none is all. A token without the claim opens nothing. Raises ValueError."""
    named = claim.split() if isinstance(claim, str) else claim
    if named == [ALL_REGIONS]:
        return ()
    regions = msgspec.convert(named, tuple[Slug, ...])
    if not regions:
        raise ValueError("no regions")
    return regions


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror})", "name a file in RISK_OIDC_KEYS") from error


def _named_by(issuer: str) -> str:
    try:
        about = msgspec.json.decode(_fetched(f"{issuer.rstrip('/')}/.well-known/openid-configuration"))
        named, address = about["issuer"], about["jwks_uri"]
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{issuer} does not name its keys", "set RISK_OIDC_KEYS to their address") from error
    if named != issuer:
        raise SettingsError(f"{issuer} calls itself {named}", "set RISK_OIDC_ISSUER to that, to the last character")
    return str(address)


def _fetched(url: str) -> bytes:
    _refuse_unsafe(url)
    remedy = "look whether this machine reaches it"
    try:
        answer = _http.request("GET", url, redirect=False, preload_content=False)
        try:
            content = answer.read(_MOST_BYTES + 1)
        finally:
            answer.release_conn()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise SettingsError(f"{url} does not answer ({type(error).__name__})", remedy) from error
    if answer.status != 200 or len(content) > _MOST_BYTES:
        raise SettingsError(f"{url} answers {answer.status} with {len(content)} bytes", remedy)
    return bytes(content)


def _refuse_unsafe(url: str) -> None:
    address = urlsplit(url)
    if address.scheme != "https" and not (address.scheme == "http" and address.hostname in _LOCAL):
        raise SettingsError(f"{url} is no https address", "keys that came over another could be anybody's")
