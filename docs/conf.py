"""The site of `make docs`. Its root is the repository's, so that a link works on the site and beside the files."""

project = "Incident Risk Scorer"
extensions = ["myst_parser", "sphinx_external_toc"]
external_toc_path = "docs/toc.yaml"
include_patterns = ["*.md", "*/README.md", "docs/**"]
exclude_patterns = [".*", "out", "data", "secrets", "backup", "tests"]
myst_heading_anchors = 3
html_theme = "pydata_sphinx_theme"
html_additional_pages = {}
