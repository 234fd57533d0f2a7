"""Asks the job as Prometheus would, by the parser of its client library."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

LABELS = ("region", "outcome", "reason", "version", "phase")


def scraped(address):
    """(text, {(figure without our prefix, *labels): value}) of `http://address/metrics`."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    figures = {
        (sample.name.removeprefix("incident_risk_"), *(sample.labels[one] for one in LABELS if one in sample.labels)): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return text, figures
