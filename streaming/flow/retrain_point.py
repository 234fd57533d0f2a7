"""The `retrain` point: when the triggers of a region were last asked, by whoever asks them, and what became of it."""

from models.gate.asked import Asked
from streaming.sinks.line_protocol import point_line


def retrain_line(region: str, asked: Asked, now_s: int) -> bytes:
    """As line protocol at `now_s`, the region's clock."""
    fields: dict[str, float | int | str] = {
        "asked_ago_s": float(max(0, now_s - asked.ended_s)),
        "outcome": asked.outcome,
        "because": asked.because,
    }
    if asked.made_s is not None:
        fields["made_ago_s"] = float(max(0, now_s - asked.made_s))
    return point_line("retrain", {"region": region}, fields, now_s)
