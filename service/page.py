"""The pages for people, in the service's language: the live map, and the form that a token is given in.

In a browser `live_map/from_service.js` asks the service, and `live_map/view.js` shows what it answers.
"""

import html
import json
import re
from collections.abc import Sequence
from functools import cache
from gettext import NullTranslations
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, RedirectResponse, Response

from schemas.languages import sentences_of
from service.basemap import Basemap
from service.callers import TheService, cookies_of, known_caller, problem_answer, put_off, token_of

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).with_name("live_map")
LIBRARY = "openlayers.js"  # `make live-map` makes it of the packages in deploy/live_map
PAGES = (FOLDER / "page.html", FOLDER.with_name("login.html"))
_SLOT = re.compile(r"\{\{(\w+)\}\}")
# What a page of HTML says to people: texts with a letter, and the attributes that are read out.
_SAID = re.compile(
    r'(?<=>)(?P<before>\s*)(?P<text>[^<>{}]*[A-Za-z][^<>{}]*?)(?=\s*<)|(?<=aria-label=")[^"]+|(?<=aria-roledescription=")[^"]+'
)
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_FILES = {path.name: _KINDS[path.suffix] for path in sorted(FOLDER.iterdir()) if path.suffix in _KINDS}
_HEAD = f"""<link rel="icon" href="data:,">
<link rel="modulepreload" href="page/{LIBRARY}">
<link rel="stylesheet" href="page/page.css">
<script type="module" src="page/from_service.js"></script>"""
_MAP, _LOGIN = (page.read_text(encoding="utf-8") for page in PAGES)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:{}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@router.get("/")
async def live_map(request: Request, service: TheService) -> Response:
    caller = known_caller(service, token_of(request))
    if caller is None:
        return RedirectResponse(f"login{_view_of(request)}", 303)
    if not service.is_open:
        put_off(request, caller, service.now_s())
    source = f" {service.basemap.source}" if service.basemap else ""
    return _html(_map(service.language, service.basemap), source=source)


@router.get("/page/{name}")
async def page_part(name: str) -> Response:
    """A part of the page. It tells nothing, so it needs no token."""
    if name not in _FILES:
        return problem_answer(404, "no such part of the page")
    return Response(part(name), media_type=_FILES[name], headers={"Content-Security-Policy": _POLICY.format("")})


@router.get("/basemap.pmtiles")
async def basemap_part(request: Request, service: TheService) -> Response:
    """The asked range of the file, for whoever may see the map."""
    if service.basemap is None or service.basemap.file is None:
        return problem_answer(404, "this service was given no file of a base map")
    if known_caller(service, token_of(request)) is None:
        return problem_answer(401, "the base map is for those who may see the map: sign in")
    if "range" not in request.headers:
        return problem_answer(416, "ask for a range of bytes: the file is large")
    return FileResponse(service.basemap.file, media_type="application/octet-stream")


@router.get("/login")
async def form(service: TheService) -> Response:
    return _html(_login(service.language, "hidden"))


@router.post("/login")
async def sign_in(request: Request, service: TheService) -> Response:
    """The token, if it is known, goes into a cookie that no script can read and no other site can send."""
    given = parse_qs((await request.body()).decode("utf-8", "replace")).get("token", [""])[0].strip()
    caller = known_caller(service, given)
    if caller is None:
        return _html(_login(service.language), 401)
    return _to_the_map(request, [] if service.is_open else cookies_of(request, given, caller, service.now_s()))


@router.post("/logout")
async def sign_out(request: Request, service: TheService) -> Response:
    return _to_the_map(request, [] if service.is_open else cookies_of(request, "", None, 0))


@cache
def _map(language: str, basemap: Basemap | None) -> str:
    sentences = sentences_of(language)
    head = _HEAD + catalogue(sentences) + (basemap.for_page() if basemap else "")
    slots = {"lang": language, "head": head, "title": sentences.gettext("Incident risk")}
    return filled(_MAP, sentences, **slots)


@cache
def _login(language: str, hidden: str = "") -> str:
    """hidden: the attribute, unless it says that a token is not known."""
    return filled(_LOGIN, sentences_of(language), lang=language, hidden=hidden)


def _view_of(request: Request) -> str:
    return "?view=wall" if request.query_params.get("view") == "wall" else ""


def _to_the_map(request: Request, cookies: Sequence[str]) -> Response:
    answer = RedirectResponse(f"./{_view_of(request)}", 303)
    for cookie in cookies:
        answer.headers.append("Set-Cookie", cookie)
    return answer


def _html(text: str, status: int = 200, source: str = "") -> Response:
    """source: from where it may show pictures, beside its own data."""
    headers = {"Content-Security-Policy": _POLICY.format(source)}
    return Response(text, status, headers, media_type="text/html; charset=utf-8")


@cache
def part(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def filled(page: str, sentences: NullTranslations, **slots: str) -> str:
    """The HTML in the language of these sentences, with HTML in its slots."""

    def in_the_language(said: re.Match[str]) -> str:
        sentence = " ".join((said["text"] or said[0]).split())  # prettier breaks lines in it
        return (said["before"] or "") + html.escape(sentences.gettext(sentence))

    said = _SAID.sub(in_the_language, page)
    return _SLOT.sub(lambda slot: slots[slot[1]], said)


def catalogue(sentences: NullTranslations) -> str:
    """All of them as data in HTML, for the page's scripts: by sentence, or by `sentence|form`. Nothing for English."""
    entries = vars(sentences).get("_catalog", {})  # gettext has no other way to all of a catalogue
    by_key = {key if isinstance(key, str) else "|".join(map(str, key)): said for key, said in entries.items() if key}
    data = json.dumps(by_key, ensure_ascii=False).replace("<", "\\u003c")  # so that no sentence ends the element
    return f'\n<script type="application/json" id="catalogue">{data}</script>' if by_key else ""
