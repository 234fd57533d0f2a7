"""The `cells` command: the cells of every region as GeoJSON, for the map in Grafana."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from schemas.errors import ArtifactError, SettingsError
from schemas.spec import Spec
from streaming.files import replace_file
from streaming.settings import Settings

ALL_REGIONS = "_all.geojson"  # no region can have this name


def cells(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the files")],
    artifacts: Annotated[Path | None, typer.Option(help="Folder of artifacts; default: RISK_ARTIFACTS")] = None,
) -> None:
    """Write REGION.geojson of each region, ids = cell ids, and _all.geojson of them together, ids = geohashes."""
    from models.artifact import newest_artifacts, read_spec  # torch: seconds that other commands save

    settings: Settings = context.obj
    folder = artifacts or settings.artifacts
    newest = newest_artifacts(folder)
    if not newest:
        raise ArtifactError(f"no artifact in {folder}: train one, or give the folder with --artifacts")
    specs = [read_spec(folders[0]) for _, folders in sorted(newest.items())]
    for name, collection in geojson_files(specs).items():
        try:
            replace_file(out / name, msgspec.json.encode(collection))
        except OSError as error:
            raise SettingsError(f"{out / name} cannot be written ({error.strerror}): choose another --out") from error
        typer.echo(f"{out / name}: {len(collection['features']):,} cells")


def geojson_files(specs: list[Spec]) -> dict[str, dict[str, Any]]:
    """File name -> FeatureCollection. Cell ids are the same in every region, so the file of all has geohashes as ids.

    One file of all regions, because Grafana puts no variable into the address of the layer that is coloured by data.
    """
    of_regions = {f"{spec.region}.geojson": spec.grid.geojson() for spec in specs}
    together = [
        {**feature, "id": geohash, "properties": {**feature["properties"], "region": spec.region}}
        for spec in specs
        for geohash, feature in zip(
            spec.grid.geohashes(), of_regions[f"{spec.region}.geojson"]["features"], strict=True
        )
    ]
    return {**of_regions, ALL_REGIONS: {"type": "FeatureCollection", "features": together}}
