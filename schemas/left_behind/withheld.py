"""Whether the scores of this deployment are withheld: a file beside the frames, which the job and the service read."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from schemas.limits import MAX_TIME_S

LONGEST = 200  # characters of a reason


class Withheld(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    since_s: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_S)]
    because: Annotated[str, msgspec.Meta(max_length=LONGEST)]

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
        fault = f"{path.name} cannot be read ({error}): `withhold --end` removes it"
        return Withheld(since_s=0, because=fault[:LONGEST])
