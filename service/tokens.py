"""Who may ask: tokens of which only hashes are kept, each with the regions that it opens, and how often it may ask.

The file has one line a token: `{"name": "cad", "sha256": "...", "regions": ["chicago"]}`; without regions it opens all.
With `"screen": true` it opens the map alone, and a browser stays signed in with it. With `"role": "analyst"` it opens
what the role does; without a role everything.
A token has 256 random bits, so that its plain hash tells nobody what it is.
"""

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from schemas.errors import SettingsError
from schemas.files import FileState, file_state, replace_file, write_errors
from schemas.spec import Slug

log = logging.getLogger(__name__)
_LONGEST_TOKEN = 200  # characters; ours have 43
_BROKEN = (0, 0, 0)  # in place of inode, size and time
# What a role opens beside the map, the scores, and the decisions in force, which every token opens.
OPENS: Mapping[str, tuple[str, ...]] = {
    "dispatcher": ("posts", "decide"),
    "analyst": ("posts",),
    "operator": ("metrics", "record"),
    "official": ("record",),
}
Role = Literal["dispatcher", "analyst", "operator", "official"]
_BURST_S = 5  # seconds' worth of requests that may come at once


class Caller(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of the file."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    regions: tuple[Slug, ...] = ()  # none: all
    screen: bool = False
    role: Role | None = None  # none: all

    def may_see(self, region: str) -> bool:
        return not self.regions or region in self.regions

    def may(self, scope: str) -> bool:
        return not self.screen and (self.role is None or scope in OPENS[self.role])


ANYONE = Caller(name="anyone", sha256="0" * 64)  # where no file of tokens is named: this machine alone is answered


@dataclass(slots=True)
class Tokens:
    """The callers of a file. A file that cannot be used, or is gone, opens nothing."""

    path: Path
    _seen: FileState | None = None
    _by_hash: dict[str, Caller] = field(default_factory=dict)

    def look(self) -> None:
        """Read the file if it was replaced: a token that was taken out ends within a second."""
        try:
            state = file_state(self.path)
            if state is None or state != self._seen:
                self._by_hash, self._seen = {caller.sha256: caller for caller in read_tokens(self.path)}, state
        except SettingsError as error:
            if self._by_hash or self._seen is None:
                log.warning("no token is accepted: %s", error)
            self._by_hash, self._seen = {}, _BROKEN

    @property
    def is_broken(self) -> bool:
        """Whether the file cannot be used, so that nobody is let in."""
        return self._seen == _BROKEN

    def caller(self, token: str) -> Caller | None:
        return self._by_hash.get(_sha256(token)) if len(token) <= _LONGEST_TOKEN else None


@dataclass(slots=True)
class Rates:
    """How often each caller may ask: `per_s` on average, and some seconds' worth at once."""

    per_s: float
    now_s: Callable[[], float]  # a clock that is never set back
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)  # caller -> requests left, at that time

    def wait_s(self, caller: str) -> float:
        """Take one request; 0, or the seconds until there is one to take."""
        now, most = self.now_s(), max(1.0, self.per_s * _BURST_S)
        left, then = self._left.get(caller, (most, now))
        left = min(most, left + (now - then) * self.per_s)
        self._left[caller] = (left - 1 if left >= 1 else left, now)
        return max(0.0, (1 - left) / self.per_s)


def read_tokens(path: Path) -> list[Caller]:
    """Raises SettingsError, which never repeats the file's content."""
    remedy = "make it with `token NAME --tokens FILE`"
    try:
        lines = path.read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Caller) for line in lines if line.strip()]
    except OSError as error:
        raise SettingsError(f"the tokens' file {path} cannot be read ({error.strerror})", remedy) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the tokens' file {path} has a line that is no token's", remedy) from error


def make_token(path: Path, name: str, regions: Iterable[str], *, screen: bool = False, role: Role | None = None) -> str:
    """Add a token of that name to the file, in place of an earlier one; gives the token, which is kept nowhere.

    Whoever may read the file may read it afterwards: `serve` can be another user. Raises SettingsError.
    """
    token = secrets.token_urlsafe(32)
    line = {"name": name, "sha256": _sha256(token), "regions": sorted(regions), "screen": screen, "role": role}
    try:
        caller = msgspec.convert(line, Caller)
    except msgspec.ValidationError as error:
        remedy = "choose a name of letters, digits, . _ and -, and regions as their artifacts call them"
        raise SettingsError(f"token {name!r} for {line['regions']} cannot be ({error})", remedy) from error
    is_there = path.exists()
    others = [other for other in (read_tokens(path) if is_there else []) if other.name != name]
    content = b"".join(msgspec.json.encode(other) + b"\n" for other in (*others, caller))
    with write_errors(SettingsError, path, remedy="choose another file with --tokens"):
        replace_file(path, content, mode=path.stat().st_mode & 0o777 if is_there else None)
    return token


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
