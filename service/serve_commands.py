"""The commands `serve` and `token`: the scores over HTTP, and who may ask for them."""

import logging
import re
import socket
import time
from pathlib import Path
from typing import Annotated

import typer

from models.readiness import PLACES, read_places
from schemas.areas import read_areas
from schemas.errors import SettingsError, needs_extra
from schemas.languages import LANGUAGES, sentences_of
from schemas.limits import LOG_FORMAT, LOG_TIME
from service.basemap import basemap_of
from service.tokens import Rates, Role, Tokens, make_token, read_tokens
from streaming.cli.maps import read_streets
from streaming.settings import Settings

_FRAMES: Path = Settings.model_fields["frames"].default
_LANGUAGE: str = Settings.model_fields["language"].default
_AUDIT: Path = Settings.model_fields["audit"].default


def serve(
    frames: Annotated[Path, typer.Option(envvar="RISK_FRAMES", help="Folder of the frames")] = _FRAMES,
    audit: Annotated[
        Path, typer.Option(envvar="RISK_AUDIT", help="Audit log in which decisions on places stand, of all replicas")
    ] = _AUDIT,
    listen: Annotated[
        str, typer.Option(help="host:port; a host that other machines reach needs --tokens")
    ] = "127.0.0.1:8321",
    tokens: Annotated[
        Path | None, typer.Option(help="File of the tokens' hashes; without it only this machine is answered")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Requests a second that a token may make on average")] = 20.0,
    areas: Annotated[
        Path | None, typer.Option(help="GeoJSON file of polygons, such as districts, to ask for by name")
    ] = None,
    area_name: Annotated[str, typer.Option(help="Property of the polygons that holds their names")] = "name",
    streets: Annotated[Path | None, typer.Option(help="GeoJSON file of streets and named places for the map")] = None,
    stations: Annotated[Path | None, typer.Option(help=f"Stations to find on the map: {PLACES}")] = None,
    basemap: Annotated[
        str | None,
        typer.Option(help="Map below the cells: tiles with {z}/{x}/{y}, a WMS with its layers, or a file of PMTiles"),
    ] = None,
    basemap_credit: Annotated[str, typer.Option(help="Whose base map it is; the map shows it")] = "",
    language: Annotated[
        str, typer.Option(envvar="RISK_LANGUAGE", help=f"Of the pages: {', '.join(LANGUAGES)}")
    ] = _LANGUAGE,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin of a web app that may read the answers, as https://map.example.org; may be repeated"),
    ] = None,
) -> None:
    """Serve the last frame of each region over HTTP, with a live map at /, until told to stop."""
    host, port = _address(listen, is_guarded=tokens is not None)
    origins = origin or []
    for each in origins:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:\d+)?", each):
            remedy = "give it as browsers send it, in small letters and without a path, like https://map.example.org"
            raise SettingsError(f"--origin {each} is no origin of a web app", remedy)
    if streets:
        read_streets(streets, [])  # a mistake in it is said now
    below = basemap_of(basemap, basemap_credit) if basemap else None
    sentences_of(language)
    named = read_areas(areas, area_name) if areas else ()
    with needs_extra("serve"):
        import uvicorn

        from service.app import application
        from service.service import Frames, Service
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT, datefmt=LOG_TIME)
    if tokens:
        read_tokens(tokens)  # a mistake in it is said now, not in every answer
    if not frames.is_dir():
        typer.echo(f"--frames {frames} is not there yet: the map waits for the job that writes it", err=True)
    service = Service(
        frames=Frames(frames),
        now_s=time.time,
        rates=Rates(rate, time.monotonic),
        audit=audit,
        tokens=Tokens(tokens) if tokens else None,
        areas=named,
        streets=streets,
        stations=read_places(stations) if stations else (),
        basemap=below,
        language=language,
        origins=origins,
    )
    service.look()
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        fault = f"--listen {host}:{port}: nothing can listen there ({error})"
        raise SettingsError(fault, remedy="choose a free port of this machine") from error
    # What a browser on this machine opens: nobody can call on the address that means all of them.
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is left
    address = f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"
    typer.echo(f"the map is at {address}/, the document of the interface at {address}/openapi.json", err=True)
    uvicorn.run(
        application(service),
        host=host,
        port=port,
        log_level="warning",  # no line of its log has an address, a token or a body
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=16_384,
    )


def _address(listen: str, *, is_guarded: bool) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise SettingsError(f"--listen {listen} is no address", "give it as host:port, like 127.0.0.1:8321")
    if not is_guarded and host not in ("127.0.0.1", "::1", "localhost"):
        remedy = "make one with `token NAME --tokens FILE` and give --tokens FILE, or listen on 127.0.0.1"
        raise SettingsError(f"--listen {listen} would answer other machines, and no tokens are given", remedy)
    return host, int(port)


def token(
    name: Annotated[str, typer.Argument(help="Whose it is, as `cad`; a token of that name is replaced")],
    tokens: Annotated[Path, typer.Option(help="File of the tokens' hashes, which `serve` reads")],
    region: Annotated[list[str] | None, typer.Option(help="Region that it opens; may be repeated")] = None,
    screen: Annotated[
        bool, typer.Option("--screen", help="For a wall screen: it opens the map alone, which stays signed in")
    ] = False,
    role: Annotated[
        Role | None, typer.Option(help="What it opens beside map and scores; without it everything")
    ] = None,
) -> None:
    """Make a token for `serve`, and print it: only its hash is kept. Without --region it opens all regions."""
    typer.echo(make_token(tokens, name, region or (), screen=screen, role=role))
