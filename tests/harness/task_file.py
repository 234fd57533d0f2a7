"""A file of tasks, as `train`, `tune`, `evaluate` and `retrain` read it."""

import json
from pathlib import Path


def task_file(path, *tables, **fields):
    """Write a table `[[regions]]` with the fields, or one for each of `tables`, and give the path."""
    lines = []
    for table in tables or (fields,):
        lines += ["[[regions]]"]
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in table.items()}
        lines += [f"{name} = {json.dumps(value)}" for name, value in plain.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
