"""The product's version. pyproject.toml alone names it; everything else asks here."""

from importlib.metadata import version

DISTRIBUTION = "incident-risk-scorer"


def product_version() -> str:
    """The version of the installed product, such as `0.1.0`."""
    return version(DISTRIBUTION)
