"""Whether the scores of this deployment are withheld: a file beside the frames, which the job and the service read."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec


class Withheld(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    since_s: int
    because: str

    def in_words(self) -> str:
        return f"scores are withheld since {datetime.fromtimestamp(self.since_s, UTC):%Y-%m-%d %H:%MZ}: {self.because}"


def withheld_path(frames: Path) -> Path:
    return frames / "withheld.json"


def read_withheld(frames: Path) -> Withheld | None:
    """None while scores are shown. A file that cannot be read withholds them: showing them would be the worse error."""
    path = withheld_path(frames)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Withheld)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return Withheld(since_s=0, because=f"{path} cannot be read ({error}): `withhold --end` removes it")
