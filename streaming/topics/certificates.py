"""Servers' certificates: which authorities we trust, and what is wrong with a certificate."""

import ssl
from pathlib import Path

from schemas.errors import SettingsError

_ERRORS = (  # words of OpenSSL; the problem; the remedy
    ("has expired", "has expired", "renew it on the server"),
    ("not yet valid", "is not valid yet", "check the clocks of both machines"),
    ("match", "is for another name", "use the name in the certificate in {address}, or issue a new certificate"),
    ("", "is signed by an authority that we do not trust", "set {authority} to the PEM file of that authority"),
)


def certificate_error(openssl_text: str, *, address: str, authority: str) -> tuple[str, str]:
    """OpenSSL's reason not to trust a certificate, as (`has expired`, `renew it on the server`).

    address, authority: the settings that contain the server's address and the trusted authority's file.
    """
    problem, remedy = next((problem, remedy) for words, problem, remedy in _ERRORS if words in openssl_text)
    return problem, remedy.format(address=address, authority=authority)


def tls_context(authority: Path | None, *, setting: str) -> ssl.SSLContext:
    """A context that trusts only `authority`, a PEM file; without it, what the system trusts. Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
    try:
        if authority is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(authority)
    except OSError as error:
        fault = f"{setting}={authority} is not a readable PEM file of certificates ({error.strerror or error})"
        raise SettingsError(fault, remedy="give the certificate of the authority") from error
    return context
