"""How much of the product a module reaches: by imports, and by names in tables (`module:name`)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BY_NAME = re.compile(r"^([a-z_]+(?:\.[a-z_]+)+):\w+(?:\.\w+)*$")


def file_of(module: str) -> Path | None:
    """Of a module or package of the product."""
    place = ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def named_in(path: Path) -> Iterator[str]:
    """Modules that a file may import."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Constant(value=str(text)) if found := _BY_NAME.match(text):
                yield found[1]


def lines_reached(start: str) -> dict[str, int]:
    """By module its lines: the start, all that it reaches, and the packages that these lie in."""
    lines: dict[str, int] = {}
    waiting = [start]
    while waiting:
        module = waiting.pop()
        path = file_of(module)
        if module in lines or path is None:
            continue
        lines[module] = len(path.read_text(encoding="utf-8").splitlines())
        waiting += [module.rpartition(".")[0], *named_in(path)] if "." in module else named_in(path)
    return lines
