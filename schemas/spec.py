"""The spec: everything that is *meaning*. It travels in the artifact; a stream and a model must share it."""

import hashlib
import re
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec

from schemas.errors import DataError
from schemas.event import ORIGINS
from schemas.grid import Grid

SLUG = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Slug = Annotated[str, msgspec.Meta(pattern=SLUG)]
HOUR_S = 3600
DAY_S = 86_400


class Level(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One storey of the pyramid of counts: bins of `width_s` seconds, the newest `keep` of them."""

    name: str
    width_s: int
    keep: int


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is counted, where, how, and what the scores mean. Equal specs have equal fingerprints."""

    region: Slug
    timezone: str
    grid: Grid
    categories: tuple[Slug, ...]
    counted_origins: tuple[str, ...] = ("public_call", "sensor", "responder")
    tick_s: int = 60
    slide_s: int = 300
    horizons_s: tuple[int, ...] = (HOUR_S, 4 * HOUR_S, DAY_S)
    late_limit_s: int = DAY_S
    future_limit_s: int = 300
    features: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.categories) <= 64 or len(set(self.categories)) != len(self.categories):
            raise DataError(f"categories {self.categories}: name 1 to 64 different ones")
        wrong = [slug for slug in (self.region, *self.categories) if not re.fullmatch(SLUG, slug)]
        if wrong:
            raise DataError(f"{wrong} are not slugs: use a-z, 0-9, - and _, at most 63 characters")
        if set(self.counted_origins) - set(ORIGINS):
            raise DataError(f"counted_origins {self.counted_origins}: choose from {ORIGINS}")
        if self.late_limit_s < self.slide_s or self.late_limit_s > 7 * DAY_S:
            raise DataError(f"late_limit_s={self.late_limit_s}: choose {self.slide_s} to {7 * DAY_S}")
        if self.slide_s < 1 or HOUR_S % self.slide_s or self.tick_s < 1 or DAY_S % self.tick_s:
            raise DataError(f"slide_s={self.slide_s} must divide an hour, tick_s={self.tick_s} a day")
        if self.future_limit_s < 0:
            raise DataError(f"future_limit_s={self.future_limit_s}: choose 0 or more")
        horizons = self.horizons_s
        if not horizons or any(h < HOUR_S or h % HOUR_S for h in horizons) or sorted(set(horizons)) != list(horizons):
            raise DataError(f"horizons_s={horizons}: name whole hours in seconds, each once, the shortest first")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            raise DataError(f"timezone {self.timezone!r} is unknown: use an IANA name like America/Chicago") from None

    @property
    def levels(self) -> tuple[Level, ...]:
        """pane: 26 h of slides; hour: 15 days; day: 400 days (UTC). Bin `i` covers [i, i + 1) x width."""
        return (
            Level(name="pane", width_s=self.slide_s, keep=26 * HOUR_S // self.slide_s),
            Level(name="hour", width_s=HOUR_S, keep=15 * 24),
            Level(name="day", width_s=DAY_S, keep=400),
        )

    @property
    def registry_keep_s(self) -> int:
        """How long an incident's last revision is remembered, by its event time."""
        return self.late_limit_s + DAY_S

    @property
    def horizon_names(self) -> tuple[str, ...]:
        return tuple(f"{seconds // HOUR_S}h" for seconds in self.horizons_s)

    def fingerprint(self) -> str:
        """16 hex digits that change when, and only when, a field does."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]
