"""docs/soak.md and its picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.soak_figures import MIB, Samples, Verdict, fitted_line

_SEEN, _FIT, _LIMIT, _MARK = "#0072b2", "#000000", "#d55e00", "#999999"  # of Okabe and Ito: safe for colour blindness
_COLUMNS = 4


def write_plot(samples: Samples, verdicts: Sequence[Verdict], path: Path, *, from_s: float) -> None:
    """A panel per quantity: the samples, the fitted line, and the steepest line that its bound allows."""
    rows = -(-(len(verdicts) + 1) // _COLUMNS)
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=(15, 2.6 * rows), sharex=True, layout="constrained")
    minutes = samples["t_s"] / 60
    panels = list(axes.flat)
    for panel, verdict in zip(panels, verdicts, strict=False):
        _panel(panel, minutes, samples[verdict.bound.name], verdict, from_s=from_s, samples=samples)
    ledger = panels[len(verdicts)]
    ledger.plot(minutes, samples["sent"] / 1e6, color=_MARK, linewidth=4, label="sent")
    ledger.plot(minutes, samples["consumed"] / 1e6, color=_SEEN, linewidth=1.2, label="in the ledger")
    ledger.set_title("events since the start", loc="left", fontsize=9)
    ledger.set_ylabel("million")
    ledger.legend(frameon=False, fontsize=8)
    for panel in panels[len(verdicts) + 1 :]:
        panel.set_visible(False)
    for panel in axes[-1]:
        panel.set_xlabel("minutes")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _panel(panel: Axes, minutes: Any, values: Any, verdict: Verdict, *, from_s: float, samples: Samples) -> None:
    there = np.isfinite(values)
    is_dense = there.mean() > 0.5
    panel.axvspan(from_s / 60, minutes[-1], color="#f2f2f2", zorder=0)
    panel.plot(
        minutes[there],
        values[there],
        color=_SEEN,
        linewidth=1,
        marker=None if is_dense else "o",
        markersize=4,
        label="measured",
    )
    t_s, fit = fitted_line(samples["t_s"], values, from_s=from_s)
    panel.plot(t_s / 60, fit, color=_FIT, linewidth=1.5, label="fit over the last half")
    steepest = fit[0] + (t_s - t_s[0]) / 3600 * verdict.most_per_hour
    panel.plot(t_s / 60, steepest, color=_LIMIT, linewidth=1.5, linestyle="--", label="steepest that is allowed")
    panel.set_title(verdict.bound.words, loc="left", fontsize=9)
    panel.set_ylabel(verdict.bound.unit)
    digits = verdict.bound.digits
    panel.set_ylim(0, max(float(np.nanpercentile(values, 99.5)), float(steepest.max())) * 1.15)
    panel.text(
        0.98,
        0.04,
        f"{signed(verdict.slope_per_hour, digits)} an hour, bound {signed(verdict.most_per_hour, digits)}",
        transform=panel.transAxes,
        ha="right",
        fontsize=8,
        color=_FIT if verdict.is_within else _LIMIT,
    )


def signed(value: float, digits: int) -> str:
    """With its sign, and never as minus nothing."""
    return f"{round(value, digits) + 0.0:+,.{digits}f}"


def verdict_table(verdicts: Sequence[Verdict], *, middle: float, end: float) -> str:
    """The verdicts as a table in Markdown; middle and end in minutes."""
    lines = [
        f"| quantity | unit | minute {middle:g} | minute {end:g} | slope an hour | bound an hour | verdict |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in verdicts:
        digits = one.bound.digits
        figures = (f"{one.at_middle:,.{digits}f}", f"{one.at_end:,.{digits}f}", signed(one.slope_per_hour, digits))
        verdict = "within" if one.is_within else "**beyond**"
        cells = (one.bound.words, one.bound.unit, *figures, signed(one.most_per_hour, digits), verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def reasons(verdicts: Sequence[Verdict]) -> str:
    """Each bound's reason, those that share one together."""
    by_reason: dict[str, list[str]] = {}
    for one in verdicts:
        by_reason.setdefault(one.bound.reason, []).append(one.bound.words)
    return "\n".join(f"- {', '.join(words)}: {reason}." for reason, words in by_reason.items())


def soak_page(results: Mapping[str, Any], samples: Samples, verdicts: Sequence[Verdict], faults: Sequence[str]) -> str:
    """docs/soak.md."""
    scenario, machine, ledger, sent = results["scenario"], results["machine"], results["ledger"], results["sent"]
    minutes, regions, batches = scenario.seconds / 60, scenario.regions, results["batches"]
    last = {name: float(values[-1]) for name, values in samples.items()}
    of_kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(sent.items()))
    outcomes = ("counted", "corrected", "duplicate", "rejected")
    became = ", ".join(f"{ledger.get(name, 0):,} {name}" for name in outcomes)
    said = "".join(f"\n- **{fault}**" for fault in faults) or "\n- Outcome by outcome that is what was sent."
    is_well = not faults and all(one.is_within for one in verdicts)
    log_bytes = last["batch_log_mib"] * MIB
    result = "nothing grows" if is_well else "**something is wrong**"
    return f"""# Soak: {result} in {minutes:g} minutes at {scenario.rate_per_s:,.0f} events/s

Written by `make soak` on {results["date"][:10]}; the samples of a run lie in `out/soak/samples.csv`.

![What was measured, with fitted lines and bounds](soak.png)

{verdict_table(verdicts, middle=minutes / 2, end=minutes)}

The slope is that of a least-squares line over the last half (grey in the picture); the values beside it are medians of
the first and the last tenth of that half. The bounds and their reasons:

{reasons(verdicts)}

## What was run

The job in a process of its own on a real Kafka and victoria-metrics, all on one machine: {machine["cores"]} cores of
{machine["cpu"]}, {machine["memory_gib"]} GiB, load average {machine["load_average_at_start"][0]} at the start.
Settings as shipped, but without a pause between batches, which makes more of them: {batches:,} batches wrote
{results["points"]:,} points.

State is in balance only once as much time has passed as it remembers. So the job ran on the events' clock
(`RISK_CLOCK=event`) and simulated time went {results["speed"]:,} times as fast as real time: an incident is forgotten
after a minute (48 h), a count by the hour after {15 * 1440 / results["speed"]:.1f} minutes (15 days). Counts by the
day are kept for 400 days, so these still grew, by at most {results["day_bytes"] / 1024:.0f} KiB a region and day.

- Sent, in an open loop: {sum(sent.values()):,} messages ({of_kinds}).
- Became: {ledger["consumed"]:,} consumed, of them {became}.{said}
- The last event was in the ledger {results["last_event_s"]:.1f} s after the sender's end.
- Regions, each of {results["cells"]} cells, 4 categories, 3 horizons:
{regions_list(scenario)}
- {results["versions_sent"]} newer artifacts came for the first two regions while they ran.
- State on disk at the end: {last["state_mib"] / len(regions):.1f} MiB a region, with Spark's last 20 versions of it.
- The log of batches that `rebuild` needs grows by design and is kept for 35 days: {last["batch_log_mib"]:.1f} MiB here,
  {log_bytes / batches:,.0f} bytes a batch.

Memory is proportional (PSS: a page that several workers share counts once), of the job's own processes only. A full
collection every {results["collect_every_s"]:.0f} s shows what of the heap is really in use.
"""


def regions_list(scenario: Any) -> str:
    """When each region sent, in minutes."""
    lines = []
    for region in scenario.regions:
        end = "to the end" if region.to_s >= scenario.seconds else f"to minute {region.to_s / 60:.1f}, then silent"
        lines.append(f"  - `{region.name}` from minute {region.from_s / 60:.1f} {end}")
    return "\n".join(lines)
