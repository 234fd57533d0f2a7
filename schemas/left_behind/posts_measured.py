"""What `evaluate --posts` measured of units' posts in a region: those that follow its model against fixed ones.

<artifacts>/<region>/posts.json
"""

from pathlib import Path

import msgspec

from schemas.errors import ArtifactError
from schemas.files import read_small_json, replace_file, write_errors


class PostsCompared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one number of units and one reach; all but the words are shares of the calls."""

    setting: str  # in words
    fixed: float  # within reach of the best fixed posts
    gain: float  # more within reach of posts that follow the model; below 0: less
    low: float  # of the 95 % interval of the gain
    high: float
    promised_less_kept: float  # of the posts that follow
    says: str  # the verdict in words


class PostsMeasured(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: str  # that would have scored the region then
    at_s: int  # epoch seconds
    settings: tuple[PostsCompared, ...]


def _path(artifacts: Path, region: str) -> Path:
    return artifacts / region / "posts.json"


def read_posts_measured(artifacts: Path, region: str) -> PostsMeasured | None:
    """None where nobody measured. Raises ArtifactError when it cannot be read."""
    path = _path(artifacts, region)
    return read_small_json(path, PostsMeasured, remedy="delete it: the next `evaluate --posts` writes it")


def keep_posts_measured(artifacts: Path, region: str, measured: PostsMeasured) -> None:
    """Raises ArtifactError."""
    path = _path(artifacts, region)
    with write_errors(ArtifactError, path):
        replace_file(path, msgspec.json.format(msgspec.json.encode(measured)) + b"\n")
