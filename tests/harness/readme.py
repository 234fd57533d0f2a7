"""Tables of the documents."""


def rows_below(text, heading):
    """Of the one table that begins so."""
    (table,) = text.split(f"\n{heading}")[1:]
    return table.partition("\n\n")[0].splitlines()[2:]
