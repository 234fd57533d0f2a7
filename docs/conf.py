"""The site of `make docs`. Its root is the repository's, so that a link works on the site and beside the files."""

import os.path
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, find_lexer_class_for_filename, get_lexer_for_filename
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "grafana-provisioning")]

from docs.written import filled, with_age  # noqa: E402 - the path comes first
from schemas import product_version  # noqa: E402

project = "Incident Risk Scorer"
release = product_version()
extensions = ["myst_parser", "sphinx_external_toc", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
include_patterns = ["*.md", "*/README.md", "docs/**", "streaming/sample/NOTICE.md"]
exclude_patterns = [".*", "out", "data", "secrets", "backup", "mutants", "tests"]
external_toc_path = "docs/toc.yaml"
myst_heading_anchors = 3

highlight_language = "text"
default_role = "code"  # docstrings mark names as Markdown does
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

html_title = f"{project} {release}"
html_theme = "pydata_sphinx_theme"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": [],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

SHOWN_AS_PAGES = {".svg", ".py", ".sh", ".yaml", ".toml", ".example", ".flux"}  # a browser would save them to disk


def linked_files(app: Sphinx) -> set[str]:
    return {os.path.normpath(name) for name in app.env.dlfiles}


def show_linked_files(app: Sphinx, tree: nodes.document, page: str) -> None:
    """A link to a program leads to a page with its text."""
    for link in list(tree.findall(download_reference)):
        name = os.path.normpath(PurePosixPath(page).parent / link["reftarget"])
        if PurePosixPath(name).suffix in SHOWN_AS_PAGES:
            target = app.builder.get_relative_uri(page, f"files/{name}")
            link.replace_self(nodes.reference("", "", *link.children, refuri=target, internal=True))


def open_drawings(app: Sphinx, tree: nodes.document, page: str) -> None:
    """A drawing with links becomes part of the page, so that they can be followed."""
    for image in list(tree.findall(nodes.image)):
        path = ROOT / image["uri"]
        if path.suffix == ".svg" and "<a " in (drawing := path.read_text(encoding="utf-8")):
            link = partial(link_in_drawing, app, page, image["uri"])
            image.replace_self(nodes.raw("", re.sub(r'href="([^"]+)"', link, drawing), format="html"))


def link_in_drawing(app: Sphinx, page: str, drawing: str, link: re.Match[str]) -> str:
    name = os.path.normpath(PurePosixPath(drawing).parent / link[1])
    if name not in linked_files(app):
        getLogger(__name__).warning("%s links to %s: link to it in the text, too", drawing, name)
    return f'href="{app.builder.get_relative_uri(page, f"files/{name}")}"'


def pages_of_files(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    for name in linked_files(app):
        if PurePosixPath(name).suffix in SHOWN_AS_PAGES:
            text = (ROOT / name).read_text(encoding="utf-8")
            if not name.endswith(".svg"):
                lexer = get_lexer_for_filename(name) if find_lexer_class_for_filename(name) else TextLexer()
                text = highlight(text, lexer, HtmlFormatter())
            yield f"files/{name}", {"title": name, "body": f"<h1>{name}</h1>{text}"}, "page.html"


def write_parts(app: Sphinx, page: str, source: list[str]) -> None:
    """What code knows takes its place on the page, and so does the age of the runs that it rests on."""
    source[0] = with_age(filled(source[0]), datetime.now(UTC).date())


def setup(app: Sphinx) -> None:
    app.connect("source-read", write_parts)
    app.connect("doctree-resolved", show_linked_files)
    app.connect("doctree-resolved", open_drawings)
    app.connect("html-collect-pages", pages_of_files)
