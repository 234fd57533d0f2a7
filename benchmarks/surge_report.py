"""docs/explanation/load.md from the figures of a run."""

from collections.abc import Mapping
from typing import Any

_LATE_MS = 100.0  # a sender that is later than this at p99 is named
_PHASES = {
    "normal": "normal, {normal:,.0f} events/s",
    "surge": "surge, {surge:,.0f} events/s",
    "until normal again": "after it, {normal:,.0f} events/s, until normal again",
    "normal again": "the seconds after that",
}


def phase_table(results: Mapping[str, Any]) -> str:
    """Latency by phase in milliseconds, as a table in Markdown."""
    rates = {"normal": results["plan"]["normal_per_s"], "surge": results["plan"]["surge_per_s"]}
    lines = [
        "| phase | seconds | events | p50, ms | p95, ms | p99, ms | max, ms | sender late, p99, ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, words in _PHASES.items():
        if name in results["phases"]:
            one = results["phases"][name]
            figures = (one["p50"], one["p95"], one["p99"], one["max"], results["sender_late_p99_ms"][name])
            shown = " | ".join(f"{figure:,.0f}" for figure in figures)
            lines.append(f"| {words.format(**rates)} | {one['seconds']:.0f} | {one['events']:,} | {shown} |")
    return "\n".join(lines)


def sender_said(results: Mapping[str, Any]) -> str:
    """Whether the sender kept to its schedule."""
    late = {name: ms for name, ms in results["sender_late_p99_ms"].items() if ms > _LATE_MS}
    if not late:
        return "The sender kept to its schedule."
    named = ", ".join(f"{ms:,.0f} ms at p99 in the phase `{name}`" for name, ms in late.items())
    return f"**The sender fell behind its schedule** ({named}); latency is counted from the intended time all the same."


def surge_page(results: Mapping[str, Any]) -> str:
    """docs/explanation/load.md."""
    plan, machine, outage, ledger = (results[name] for name in ("plan", "machine", "outage", "ledger"))
    limit_ms, sent, counted = results["normal_limit_ms"], results["sent"], ledger.get("counted", 0)
    is_whole = ledger["consumed"] == sent == counted
    whole = "Nothing was lost or doubled" if is_whole else "**The ledger is not what was sent**"
    return f"""# Load: ten times as much for a minute, and ten minutes without the scorer

Written by `make load` on {results["date"][:10]}, of commit {results["commit"]}. All figures of a run are in
`out/load.json`.

{phase_table(results)}

- Latency was normal again **{results["recovered_s"]:.0f} s** after the surge (p99 over 5 s within {limit_ms:,.0f} ms,
  one and a half times the normal one). At most {results["most_waiting_in_surge"]:,} events waited.
- The scorer was stopped (SIGTERM) and started {outage["stopped_s"] / 60:.1f} minutes later, while
  {plan["normal_per_s"]:,.0f} events/s continued. **{outage["backlog"]:,} events** waited then.
- It had caught up **{outage["caught_up_s"]:.0f} s** after its start, of which {outage["first_batch_began_s"]:.0f} s
  passed before the first batch (Python, Java, Spark): {outage["events"]:,} events in {outage["batches"]} batches,
  **{outage["events_per_s"]:,} events/s**. The longest wait was {outage["longest_wait_s"]:,.0f} s.
- {whole}: {sent:,} events sent, {ledger["consumed"]:,} consumed, {counted:,} counted.
- {sender_said(results)}

## How it was measured

- Open loop: an event's latency runs from its intended time of sending to the store's acknowledgement of its batch.
- {plan["warm_up_s"]:.0f} s are warm-up. *Caught up*: the first acknowledgement after which no event had waited longer
  than {limit_ms:,.0f} ms.
- {results["regions"]} regions of 2,304 cells, 4 categories, 3 horizons; only new incidents; settings as shipped, but
  without a pause between batches.
- Broker, sender (librdkafka, `linger.ms=5`, `acks=all`), job and store (victoria-metrics) shared
  {machine["cores"]} cores of {machine["cpu"]} with {machine["memory_gib"]} GiB;
  load average {machine["load_average_at_start"][0]} at the start.
- For comparison: a large 911 centre sends 0.02 events/s, all of the US about 8.
"""
