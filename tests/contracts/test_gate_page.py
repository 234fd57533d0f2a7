"""The page about the gate against its benchmark's file and its plan."""

import json
import tomllib
from pathlib import Path

import msgspec

from lifecycle.gate.plan import GatePlan, read_plan
from tests.harness.readme import rows_below

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "gate.md").read_text(encoding="utf-8")
RATES = json.loads((ROOT / "benchmarks" / "gate.json").read_text(encoding="utf-8"))


def test_the_table_and_the_shares_are_those_of_the_file():
    """Where neighbouring days correlate."""
    called_better = {
        (one["rule"], one["mean"]): f"{100 * one['called_better']:.1f} %"
        for one in RATES["superiority"]
        if one["correlation"]
    }
    text = " ".join(PAGE.split())
    sequence = [called_better["confidence sequence", mean] for mean in (0, -0.2, -0.5)]
    daily = called_better["daily t interval", 0]
    assert f"better in {daily} of the trials, the confidence sequence in {sequence[0]}." in text
    assert f"better by 0.2 in {sequence[1]}, by 0.5 in {sequence[2]}." in text
    assert rows_below(PAGE, "| margin | mean difference |") == [
        f"| {one['margin']:g} | {one['mean']:g} | {100 * one['promoted']:.1f} % "
        f"| {one['median_day']:g} | {100 * one['stopped']:.1f} % |"
        for one in RATES["gate"]
        if one["correlation"]
    ]


def test_the_sentences_are_true_of_the_file():
    equal = {
        (one["rule"], one["correlation"]): one["called_better"] for one in RATES["superiority"] if one["mean"] == 0
    }
    assert round(100 * equal["daily t interval", 0.3]) == 27
    assert max(share for (rule, _), share in equal.items() if rule == "confidence sequence") < 0.05
    assert equal["confidence sequence", 0] < equal["confidence sequence", 0.3]
    ends = {(one["correlation"], one["margin"], one["mean"]): one for one in RATES["gate"]}
    assert {correlation for correlation, *_ in ends} == {0, 0.3}
    for margin in (0.36, 0.73):
        assert ends[0, margin, margin]["promoted"] < ends[0.3, margin, margin]["promoted"]
    assert round(100 * ends[0.3, 0.73, 0]["promoted"]) == 91
    assert ends[0.3, 0.73, 0]["median_day"] <= 21
    assert max(one["promoted"] for one in RATES["gate"] if one["mean"] == one["margin"]) < 0.05


def test_the_plan_that_is_shipped_has_every_key_with_its_default():
    path = ROOT / "deploy" / "gate.toml"
    assert read_plan(path)[0] == GatePlan()
    assert set(tomllib.loads(path.read_text())) == set(msgspec.structs.asdict(GatePlan()))
