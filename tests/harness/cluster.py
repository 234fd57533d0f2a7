"""What a process needs to start a `local-cluster` of its own."""

import os
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]


def cluster_environment(folder: Path) -> dict[str, str]:
    """This environment, with our packages on the path and a home for Spark in `folder`: executors write into it."""
    home = folder / "home"
    home.mkdir()
    for path in Path(find_spec("pyspark").origin).parent.iterdir():
        (home / path.name).symlink_to(path)
    python_path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": python_path, "SPARK_HOME": str(home)}
