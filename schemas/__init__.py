"""The vocabulary, and the product's version. pyproject.toml alone names it; everything else asks here."""

DISTRIBUTION = "incident-risk-scorer"


def product_version() -> str:
    """The version of the installed product, such as `0.1.0`."""
    from importlib.metadata import version  # takes a while, and few ask

    return version(DISTRIBUTION)
