"""The map below the cells: tiles of an address, a WMS, or one file of PMTiles that we serve by ranges."""

import gzip
import html
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from schemas.errors import SettingsError

_HEADER_BYTES = 127
_KINDS = {1: "vector", 2: "raster", 3: "raster", 4: "raster", 5: "raster"}  # of PMTiles's types of tiles
_WAYS = (
    "give tiles (https://gis.example.org/{z}/{x}/{y}.png), a WMS (https://gis.example.org/wms?layers=roads), or a file "
    "of PMTiles version 3"
)


@dataclass(frozen=True, slots=True)
class Basemap:
    """kind: xyz, wms, vector or raster; the last two are of a file. source: what the page's policy has to allow."""

    kind: str
    url: str
    credit: str
    source: str
    file: Path | None = None

    def for_page(self) -> str:
        """As data in HTML."""
        data = json.dumps({"kind": self.kind, "url": self.url, "credit": self.credit}).replace("<", "\\u003c")
        return f'\n<script type="application/json" id="basemap">{data}</script>'


def basemap_of(given: str, credit: str = "") -> Basemap:
    """Raises SettingsError for an address or a file that is none of the three, or where nobody says whose map it is."""
    if not re.match(r"https?:", given):
        return _of_file(Path(given), credit)
    parts = urlsplit(given)
    kind = "xyz" if all(slot in given for slot in ("{x}", "{y}", "{z}")) else "wms"
    if kind == "wms" and "layers" not in {name.lower() for name, _ in parse_qsl(parts.query)}:
        raise SettingsError(f"--basemap {given} is neither tiles nor a WMS with its layers", _WAYS)
    if not re.fullmatch(r"[a-z0-9.-]+(:\d+)?", parts.netloc):
        raise SettingsError(f"--basemap {given} names no one server in small letters", _WAYS)
    if not credit:
        remedy = "say it with --basemap-credit: the map shows it"
        raise SettingsError(f"--basemap {given}: nobody says whose map it is", remedy)
    return Basemap(kind, given, credit, f"{parts.scheme}://{parts.netloc}")


def _of_file(path: Path, credit: str) -> Basemap:
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
            if len(head) < _HEADER_BYTES or head[:8] != b"PMTiles\x03" or head[99] not in _KINDS:
                raise SettingsError(f"--basemap {path} is no file of PMTiles", _WAYS)
            file.seek(int.from_bytes(head[24:32], "little"))
            metadata = file.read(min(int.from_bytes(head[32:40], "little"), 1 << 20))
            facts: dict[str, Any] = json.loads(gzip.decompress(metadata) if head[97] == 2 else metadata)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise SettingsError(f"--basemap {path} cannot be read ({error})", _WAYS) from error
    credit = credit or html.unescape(re.sub("<[^>]*>", "", str(facts.get("attribution", ""))))
    return Basemap(_KINDS[head[99]], "basemap.pmtiles", credit, "blob:", path.resolve())
