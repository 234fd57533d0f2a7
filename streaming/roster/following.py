"""Which files of what its follower had learned a region scores by: looked for with the roster, outside of batches."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from models.follower_state import FollowerState
from schemas.errors import RiskError
from schemas.left_behind.follower_states import OLDEST_S, FollowerStates, read_follower_state
from schemas.spec import HOUR_S
from streaming.roster.roster import Entry, spec_of

log = logging.getLogger(__name__)
_FORGOTTEN_S = OLDEST_S + HOUR_S  # nothing follows so old a file, so it need not be looked at


@dataclass(slots=True, kw_only=True)
class FollowingWatch:
    """A file that cannot be used is said once, and the network scores alone."""

    checkpoint: Path
    _sound: dict[Path, bool] = field(default_factory=dict)  # files that were looked at

    def chosen(self, roster: Mapping[str, Entry], now_s: float) -> dict[str, Entry]:
        """The roster with what each version follows now."""
        chosen = {
            region: replace(
                entry,
                following=self._newest(region, entry.folder, now_s),
                challenger_following=self._newest(region, entry.challenger, now_s) if entry.challenger else "",
            )
            for region, entry in roster.items()
        }
        self._sound = {
            path: is_sound for path, is_sound in self._sound.items() if int(path.stem) > now_s - _FORGOTTEN_S
        }
        return chosen

    def _newest(self, region: str, folder: str, now_s: float) -> str:
        """The files for this hour and the next, as far as they are there and can be used."""
        states = FollowerStates.of(self.checkpoint, region, Path(folder).name)
        files = {path for ahead_s in (0, HOUR_S) if (path := states.newest(int(now_s) + ahead_s))}
        young = (path for path in files if int(path.stem) > now_s - _FORGOTTEN_S)
        return "\n".join(sorted(str(path) for path in young if self._is_usable(path, region, folder)))

    def _is_usable(self, path: Path, region: str, folder: str) -> bool:
        if path not in self._sound:
            try:
                FollowerState.checked(read_follower_state(path), spec_of(folder))
                self._sound[path] = True
            except RiskError as error:
                log.warning("region=%s a file of its follower cannot be used and is passed over: %s", region, error)
                self._sound[path] = False
        return self._sound[path]
