"""The option `--version` of both programs."""

from typing import Annotated

import typer

from schemas import DISTRIBUTION, product_version


def _print(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"{DISTRIBUTION} {product_version()}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print, is_eager=True, help="Print the product's version, and end")
]
