"""How long a browser stays signed in: a cookie with the token, and one with the end, which its use puts off."""

from collections.abc import Sequence

from fastapi import Request
from starlette.responses import Response

from service.tokens import Caller

COOKIE = "risk_token"
UNTIL = "risk_signed_in"  # when it ends, in seconds since 1970, for the page's script; it opens nothing
_SHIFT_S = 12 * 3600
_SCREEN_S = 400 * 24 * 3600  # browsers keep no cookie for longer
_HOUR_S = 3600


def new_cookies(request: Request, token: str, caller: Caller, now_s: float) -> Sequence[str]:
    return _cookies(request, token, _lasting_s(caller), now_s)


def no_cookies(request: Request) -> Sequence[str]:
    return _cookies(request, "", 0, 0)


def put_off(request: Request, caller: Caller, now_s: float) -> None:
    """Leave new cookies with the request, for RequestGuard to send, when those it came with are older than an hour."""
    token, until = request.cookies.get(COOKIE), request.cookies.get(UNTIL, "")
    until_s = int(until[:10]) if until.isdecimal() else 0
    if token and "authorization" not in request.headers and until_s < now_s + _lasting_s(caller) - _HOUR_S:
        request.state.cookies = new_cookies(request, token, caller, now_s)


def _lasting_s(caller: Caller) -> int:
    return _SCREEN_S if caller.screen else _SHIFT_S


def _cookies(request: Request, token: str, seconds: int, now_s: float) -> Sequence[str]:
    """`Secure`, but for this machine's own names: elsewhere a browser sends the cookie over TLS alone."""
    answer, is_secure = Response(), request.url.hostname not in ("localhost", "127.0.0.1", "::1")
    for name, value, is_hidden in ((COOKIE, token, True), (UNTIL, str(round(now_s + seconds)), False)):
        answer.set_cookie(name, value, max_age=seconds, secure=is_secure, httponly=is_hidden, samesite="strict")
    return answer.headers.getlist("set-cookie")
