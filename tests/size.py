"""What the code base weighs, by one rule: `python -m tests.size`. Before and after a change of its shape.

Lines are those of Python files with blank lines and comments; an import's lines count as imports. Reached by
run is what its command imports, now or later, and what it names in tables.
"""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

PRODUCT = ("schemas", "models", "streaming", "lifecycle", "service", "incident_risk.py")
GIT = str(shutil.which("git"))
say = Console(highlight=False, soft_wrap=True).print
RUN = "streaming.cli.job_commands"  # the module of the command
ROOMS = (*PRODUCT, "grafana-provisioning", "deploy", "benchmarks", "docs", "tests")
ROOT = Path(__file__).parents[1]
BY_NAME = re.compile(r"^([a-z_]+(?:\.[a-z_]+)+):\w+(?:\.\w+)*$")


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
            case ast.Constant(value=str(text)) if found := BY_NAME.match(text):
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


def files_of(*places: str) -> list[Path]:
    """The Python files of git under these places."""
    listed = subprocess.run([GIT, "ls-files", *places], capture_output=True, text=True, check=True).stdout.split()
    return [path for name in listed if (path := Path(name)).suffix == ".py" and path.exists()]


def lines_of(files: list[Path]) -> int:
    return sum(path.read_bytes().count(b"\n") for path in files)


def shape_of(files: list[Path]) -> str:
    """Functions, classes and imports of the files."""
    lengths, classes, imports = list[int](), 0, 0
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths.append(int(node.end_lineno or 0) - node.lineno + 1)
            elif isinstance(node, ast.ClassDef):
                classes += 1
            elif isinstance(node, ast.Import | ast.ImportFrom):
                imports += int(node.end_lineno or 0) - node.lineno + 1
    long = sum(length > 40 for length in lengths) / len(lengths)
    mean, share = sum(lengths) / len(lengths), imports / lines_of(files)
    return (
        f"{len(lengths):,} functions of {mean:.1f} lines, {long:.1%} over 40; {classes} classes; "
        f"imports {share:.1%} of the lines"
    )


def main() -> None:
    for room in ROOMS:
        if files := files_of(room):
            say(f"{room:22} {lines_of(files):7,} lines in {len(files):3} files")
    product = files_of(*PRODUCT)
    say(f"{'product':22} {lines_of(product):7,} lines in {len(product):3} files: {shape_of(product)}")
    run = lines_reached(RUN)
    say(f"{'reached by run':22} {sum(run.values()):7,} lines in {sum(map(bool, run.values())):3} files")
    pages = subprocess.run([GIT, "ls-files", "*.md"], capture_output=True, text=True, check=True).stdout.split()
    words = {name: len(Path(name).read_text(encoding="utf-8").split()) for name in pages if Path(name).exists()}
    longest = max(words, key=words.__getitem__)
    say(f"{'pages':22} {sum(words.values()):7,} words in {len(words):3} pages, {words[longest]:,} in {longest}")
    tests = sum(
        len(re.findall(r"^\s*(?:async )?def test_", path.read_text(), re.MULTILINE)) for path in files_of("tests")
    )
    say(f"{'tests':22} {tests:7,} test functions")


if __name__ == "__main__":
    main()
