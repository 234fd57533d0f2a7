"""Servers' certificates: what is wrong with one, in words, and whom to trust."""

import ssl
from pathlib import Path

from schemas.errors import SettingsError

_FAULTS = (
    ("has expired", "has expired: renew it there"),
    ("not yet valid", "is not valid yet: check the clocks of both machines"),
    ("match", "is for another name: give the name it was made for in {address}, or make it anew"),
    ("", "is signed by nobody that we trust: set {authority} to the PEM file of the authority that signed it"),
)


def fault_of(said: str, *, address: str, authority: str) -> str:
    """OpenSSL's reason not to trust a certificate, as `has expired: renew it there`.

    address, authority: the settings that hold the server's address and the file of who is trusted.
    """
    fault = next(fault for words, fault in _FAULTS if words in said)
    return fault.format(address=address, authority=authority)


def trusting(authority: Path | None, *, setting: str) -> ssl.SSLContext:
    """A context that trusts `authority` only, a PEM file, or else whom the system trusts. Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
    try:
        if authority is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(authority)
    except OSError as error:
        raise SettingsError(
            f"{setting}={authority} is not a readable PEM file of certificates ({error.strerror or error})"
        ) from error
    return context
