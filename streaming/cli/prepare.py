"""What a deployment needs once: Spark's jars, the files of Grafana's map, and pods on Kubernetes."""

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer
from rich.console import Console

from schemas.areas import cells_of_areas, cells_pattern, read_areas
from schemas.errors import ArtifactError, SettingsError, SparkFailed
from schemas.files import read_json, replace_file, write_errors
from schemas.spec import Spec
from streaming.jars import fetched_jars, java_version, needed_packages
from streaming.maps import (
    EXPORT_STREETS,
    GROUND,
    GROUND_SVG,
    STREETS,
    WHICH_MAP,
    Collection,
    Page,
    border_and_areas,
    geojson_files,
    lines_name,
    opened_at,
    page_of,
    read_streets,
    with_areas,
    with_streets,
    without_names,
)
from streaming.settings import Settings

DASHBOARDS = "dashboards"
_BACKEND = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
_TOLD_AS = {
    "--driver-url": "SPARK_DRIVER_URL",
    "--executor-id": "SPARK_EXECUTOR_ID",
    "--cores": "SPARK_EXECUTOR_CORES",
    "--app-id": "SPARK_APPLICATION_ID",
    "--hostname": "SPARK_EXECUTOR_POD_IP",
    "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
    "--podName": "SPARK_EXECUTOR_POD_NAME",
}
_JAVA_OPTION = "SPARK_JAVA_OPT_"  # and a number: their order


def prepare(context: typer.Context) -> None:
    """Fetch Spark's jars. Later starts need no network."""
    settings: Settings = context.obj()
    console = Console(highlight=False)
    java_version()
    packages = needed_packages(settings.checkpoint, settings.spark_state)
    if not fetched_jars(settings.cache, packages):
        from streaming.spark import start_session  # a second that other commands save

        with console.status("starting Spark once, which fetches 60 MB of jars ..."):
            start_session(settings, settings.cache.expanduser() / "prepare.log").stop()
    jars = fetched_jars(settings.cache, packages)
    console.print(f"{len(jars)} jars in {settings.cache.expanduser()}", soft_wrap=True)


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
    outlines = geojson_files(specs)
    named = read_areas(areas, area_name) if areas else []
    patterns: dict[str, dict[str, str]] = {}
    for spec, here in zip(specs, cells_of_areas(named, [spec.grid for spec in specs]), strict=True):
        outlines[lines_name(spec.region)] = border_and_areas(spec.grid, [area for area in named if area.name in here])
        patterns[spec.region] = {name: cells_pattern(spec.grid, inside) for name, inside in here.items()}
    if streets:
        outlines[STREETS] = without_names(read_streets(streets, [spec.grid for spec in specs]))
        if not outlines[STREETS]["features"]:
            raise SettingsError(f"{streets} has no line at the cells", EXPORT_STREETS)
    _write_outlines(out, outlines)
    if live_map:
        page = read_json(live_map, Page, SettingsError, remedy=WHICH_MAP)
        if page is None:
            raise SettingsError(f"--live-map {live_map} does not exist", WHICH_MAP)
        page = with_streets(page, outlines[STREETS]["attribution"]) if streets else page
        _write_pages(out / DASHBOARDS, live_map.stem, _pages(page, specs, patterns))
        for region, areas_of_region in patterns.items():
            for name in areas_of_region:
                typer.echo(f"{region}, only {name}: add ?var-area={quote(name)} to the address of its map")


def _served_specs(folder: Path) -> list[Spec]:
    """The spec of each region's best readable artifact: a damaged one must not keep the map from the other regions."""
    from models.artifact import candidates_by_region, read_spec  # torch: seconds that other commands save

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


def _write_outlines(out: Path, outlines: Mapping[str, Collection]) -> None:
    for name, collection in outlines.items():
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


def executor_command(environment: Mapping[str, str], jars: Path) -> list[str]:
    """The words that start Java as the executor that Spark's driver described in the pod's `environment`.

    Raises SparkFailed when a variable is missing: then it was not Spark that started the container.
    """
    _refuse_what_is_missing(environment, (*_TOLD_AS.values(), "SPARK_EXECUTOR_MEMORY"))
    numbered = sorted(
        (int(name.removeprefix(_JAVA_OPTION)), option)
        for name, option in environment.items()
        if name.startswith(_JAVA_OPTION)
    )
    return [
        "java",
        *(option for _, option in numbered),
        f"-Xmx{environment['SPARK_EXECUTOR_MEMORY']}",
        *("-cp", f"{jars}/*"),
        _BACKEND,
        *(word for option, name in _TOLD_AS.items() for word in (option, environment[name])),
    ]


def driver_command(environment: Mapping[str, str], arguments: Sequence[str]) -> list[str]:
    """The words that start the program that `spark-submit --deploy-mode cluster`, or an operator, has named.

    Raises SparkFailed when the address that the pod listens at is not in its `environment`.
    """
    _refuse_what_is_missing(environment, ["SPARK_DRIVER_BIND_ADDRESS"])
    address = f"spark.driver.bindAddress={environment['SPARK_DRIVER_BIND_ADDRESS']}"
    return ["spark-submit", "--conf", address, "--deploy-mode", "client", *arguments]


def _refuse_what_is_missing(environment: Mapping[str, str], names: Sequence[str]) -> None:
    if missing := [name for name in names if not environment.get(name)]:
        fault = f"{', '.join(missing)} is not in the environment"
        raise SparkFailed(fault, remedy="leave this command to Spark on Kubernetes, which starts the pods")


def become(context: typer.Context, arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Become the pod that Spark on Kubernetes, or an operator of it, has started: an executor or a driver."""
    environment = os.environ  # noqa: TID251 - what Spark told the pod
    words = (
        executor_command(environment, Path(str(files("pyspark"))) / "jars")
        if context.info_name == "executor"
        else driver_command(environment, arguments or [])
    )
    os.execvp(words[0], words)  # noqa: S606 - without a shell
