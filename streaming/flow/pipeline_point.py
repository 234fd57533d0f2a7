"""The `pipeline` point: a region's ledger and the state of its feed. The ledger itself must load no Arrow."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.event import REASONS
from streaming.sinks.line_protocol import point_line

NO_CHALLENGER = "none"
WITHHELD = "withheld"  # in place of a model
_TEXTS = ("middle", "change", "challenger")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinePoint:
    """The `pipeline` point of a region's batch."""

    region: str
    tick_s: int
    as_of_s: int
    middle: str = ""  # geohash of the region's middle, where a map writes that its scores are stale
    totals: Mapping[str, int]
    # The newest counted incident; before the first, the end of the artifact's history, so that a feed that never
    # connected is silent too. 0 for messages of no region.
    newest_event_s: int = 0
    model: str | None = None  # of the scores that the batch renewed, if it did
    is_withheld: bool = False  # these scores are not in the store
    data_end_s: int = 0  # of the artifact in force; 0 for messages of no region
    followed_ago_s: int | None = None  # since the hour of the file that the scores follow; None where they follow none
    change: str = ""  # that the scores follow
    challenger: str | None = None  # the version that is tried beside it, or NO_CHALLENGER; None: not known

    def line(self, of_the_machine: Mapping[str, float]) -> bytes:
        none = dict.fromkeys((f"rejected_{reason}" for reason in REASONS), 0)  # else the first of a reason is no step
        fields: dict[str, float | int | str] = {**none, **self.totals, "as_of": self.as_of_s, **of_the_machine}
        if self.newest_event_s:
            fields["silent_s"] = max(0, self.as_of_s - self.newest_event_s)
        if self.model:
            fields["scores_of"] = 0 if self.is_withheld else self.as_of_s
        if self.data_end_s:
            fields["data_end_s"] = self.data_end_s
        if self.followed_ago_s is not None:
            fields["followed_ago_s"] = self.followed_ago_s
        model = WITHHELD if self.model and self.is_withheld else self.model
        for name, text in {"model": model, **{name: getattr(self, name) for name in _TEXTS}}.items():
            if text:
                fields[name] = text
        return point_line("pipeline", {"region": self.region or "_unassigned"}, fields, self.tick_s)
