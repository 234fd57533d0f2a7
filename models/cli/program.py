"""What every program has in common: its version, and that it knows which program has a command that it has not."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from schemas import DISTRIBUTION, product_version

COMMANDS = {  # of each program
    "streaming": "run doctor check health checkpoint withhold audit retention documents feedback cells prepare "
    "demo replay broker",
    "lifecycle": "archive versions promote rollback retire retrain gate judge watch",
    "models": "train cold-start disparity evaluate explain posts simulate-feedback tune",
    "service": "serve token",
}


class Program(TyperGroup):
    """Names the other program that has a command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        for program, names in COMMANDS.items():
            if args[0] not in self.commands and args[0] in names.split():
                ctx.fail(f"No such command {args[0]!r} here: it is `python -m {program} {args[0]}`")
        return super().resolve_command(ctx, args)


def new_program(about: str, *, name: str | None = None, group: type[Program] = Program) -> typer.Typer:
    """A program without commands yet."""
    options: dict[str, Any] = {"no_args_is_help": True, "pretty_exceptions_enable": False, "add_completion": False}
    return typer.Typer(name=name, help=about, cls=group, **options)


def _print(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"{DISTRIBUTION} {product_version()}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print, is_eager=True, help="Print the product's version, and end")
]
