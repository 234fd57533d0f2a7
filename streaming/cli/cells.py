"""The `cells` command: writes what Grafana's map needs, as files that Grafana serves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from schemas.areas import cells_of_areas, cells_pattern, read_areas
from schemas.errors import ArtifactError, SettingsError
from schemas.files import read_json, replace_file, write_errors
from schemas.spec import Spec
from streaming.maps.outlines import (
    EXPORT_STREETS,
    GROUND,
    GROUND_SVG,
    STREETS,
    Collection,
    border_and_areas,
    geojson_files,
    lines_name,
    read_streets,
    without_names,
)
from streaming.maps.pages import WHICH_MAP, Page, opened_at, page_of, with_areas, with_streets
from streaming.settings import Settings

DASHBOARDS = "dashboards"


def cells(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the files")],
    live_map: Annotated[
        Path | None,
        typer.Option(help="Dashboard file of the live map: a copy that opens at the cells goes to OUT/dashboards"),
    ] = None,
    areas: Annotated[
        Path | None, typer.Option(help="GeoJSON file of polygons, such as districts, to choose from on the map")
    ] = None,
    area_name: Annotated[str, typer.Option(help="Property of the polygons that holds their names")] = "name",
    streets: Annotated[
        Path | None, typer.Option(help="GeoJSON file of streets, drawn in place of tiles from the internet")
    ] = None,
) -> None:
    """Write the cells of each region as REGION.geojson (by cell id), and all regions as _all.geojson (by geohash)."""
    settings: Settings = context.obj()
    specs = _served_specs(settings.artifacts)
    files = geojson_files(specs)
    named = read_areas(areas, area_name) if areas else []
    patterns: dict[str, dict[str, str]] = {}
    for spec, here in zip(specs, cells_of_areas(named, [spec.grid for spec in specs]), strict=True):
        files[lines_name(spec.region)] = border_and_areas(spec.grid, [area for area in named if area.name in here])
        patterns[spec.region] = {name: cells_pattern(spec.grid, inside) for name, inside in here.items()}
    if streets:
        files[STREETS] = without_names(read_streets(streets, [spec.grid for spec in specs]))
        if not files[STREETS]["features"]:
            raise SettingsError(f"{streets} has no line at the cells", EXPORT_STREETS)
    _write_outlines(out, files)
    if live_map:
        page = read_json(live_map, Page, SettingsError, remedy=WHICH_MAP)
        if page is None:
            raise SettingsError(f"--live-map {live_map} does not exist", WHICH_MAP)
        page = with_streets(page, files[STREETS]["attribution"]) if streets else page
        _write_pages(out / DASHBOARDS, live_map.stem, _pages(page, specs, patterns))
        for region, areas_of_region in patterns.items():
            for name in areas_of_region:
                typer.echo(f"{region}, only {name}: add ?var-area={quote(name)} to the address of its map")


def _served_specs(folder: Path) -> list[Spec]:
    """The spec of each region's best readable artifact: a damaged one must not keep the map from the other regions."""
    from models.artifact.artifact import read_spec  # torch: seconds that other commands save
    from models.artifact.pointer import candidates_by_region

    specs: list[Spec] = []
    unread: list[ArtifactError] = []
    for _, choice in sorted(candidates_by_region(folder).items()):
        unread += [choice.fault] if choice.fault else []
        for artifact in choice.folders:
            try:
                specs.append(read_spec(artifact))
                break
            except ArtifactError as error:
                unread.append(error)
    if not specs:
        nothing = ArtifactError(f"no artifact in {folder}", "train a model, or set RISK_ARTIFACTS to another folder")
        raise unread[0] if unread else nothing
    for unusable in unread:
        typer.echo(f"left out: {unusable}", err=True)
    return specs


def _pages(page: Page, specs: Sequence[Spec], patterns: Mapping[str, Mapping[str, str]]) -> dict[str, Page]:
    """End of the file's name -> page. Areas are of one region, because all regions have the same cell ids."""
    if len(specs) == 1:
        return {"": with_areas(opened_at(page, specs[0].grid), patterns[specs[0].region])}
    own = {f"-{spec.region}": with_areas(page_of(page, spec), patterns[spec.region]) for spec in specs}
    return {"": page, **own}


def _write_outlines(out: Path, files: Mapping[str, Collection]) -> None:
    for name, collection in files.items():
        _write(out / name, msgspec.json.encode(collection))
        typer.echo(f"{out / name}: {len(collection['features']):,} shapes")
    _write(out / GROUND, GROUND_SVG)


def _write_pages(folder: Path, stem: str, pages: Mapping[str, Page]) -> None:
    for old in folder.glob(f"{stem}-*.json"):
        if old.stem.removeprefix(stem) not in pages:  # of a region that no longer exists
            old.unlink()
    for end, page in pages.items():
        _write(folder / f"{stem}{end}.json", msgspec.json.encode(page))
        typer.echo(f"{folder / f'{stem}{end}.json'}: {page['title']}")


def _write(path: Path, content: bytes) -> None:
    with write_errors(SettingsError, path, remedy="choose another --out"):
        replace_file(path, content)
