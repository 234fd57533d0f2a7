"""Which cells are held by past counts, beside a plain look at the whole past."""

from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import replace as replace_spec
from typer.testing import CliRunner

from schemas.instants import instant_text
from schemas.left_behind.frame_file import StoredFrames
from service.__main__ import app
from service.standing import standing_after
from tests.harness.service import Client, leave_frame, running, toy_service
from tests.harness.toy import toy_grid, toy_spec, toy_views

SPEC = toy_spec(grid=toy_grid(6, 5, south_deg=41.6, west_deg=-87.9), categories=("theft", "battery"))
STEP_S, START_S = 2400, 1_764_000_000


def past(frames, seed=3):
    """Frames every 40 minutes, in which ranks change slowly and few incidents happen."""
    rng = np.random.default_rng(seed)
    drift = rng.gamma(0.5, 1.0, (SPEC.grid.cells, 2, len(SPEC.horizons_s)))
    for number in range(frames):
        drift = drift * rng.uniform(0.97, 1.03, drift.shape)
        views = toy_views(SPEC, as_of_s=START_S + STEP_S * number)
        chance = (1 - np.exp(-drift)).astype("f4")
        seen = rng.poisson(0.02, (SPEC.grid.cells, 2)).astype("i4")
        yield replace(views[0], risk=chance, expected=drift.astype("f4"), observed_1h=seen), views[1]


def stored(views):
    return StoredFrames(by_category=views[0], over_all=views[1], clock="wall", digest="", change="", change_since_s=0)


def standing_of(all_views):
    standing = None
    for views in all_views:
        standing = standing_after(standing, stored(views))
    return standing


@pytest.mark.parametrize("hours", [0, 4, 12, 24])
def test_a_cell_is_held_that_was_listed_all_the_time_and_had_no_incident_since(hours):
    all_views = list(past(60))
    back = int(np.ceil(hours * 3600 / STEP_S)) + 1  # frames that reach so far back
    standing, newest = standing_of(all_views), [frame for frame, _ in all_views[-back:]]
    for column, horizon in np.ndindex(2, len(SPEC.horizons_s)):
        listed = [set(np.argsort(-frame.risk[:, column, horizon])[:10].tolist()) for frame in newest]
        held = {
            cell
            for cell in set.intersection(*listed)
            if not any(frame.observed_1h[cell, column] for frame in newest[1:]) and newest[-1].support[cell, column]
        }
        assert set(standing.held(SPEC.categories[column], horizon, hours)) == held
        assert held or hours == 24


def test_what_was_not_seen_begins_anew():
    all_views = list(past(60))
    with_gap = standing_of(all_views[:50] + all_views[52:])
    assert with_gap.watched_since_s == all_views[52][0].as_of_s
    assert standing_of(all_views).watched_since_s == START_S
    back = standing_after(standing_of(all_views), stored(all_views[0]))
    assert back.watched_since_s == START_S
    assert not any(with_gap.held(category, 0, 7) for category in ("all", *SPEC.categories))


@pytest.mark.parametrize(
    ("later_s", "spec", "is_joined"),
    [(3300, SPEC, True), (3301, SPEC, False), (60, replace_spec(SPEC, grid=toy_grid(6, 5)), False)],
)
def test_frames_are_joined_where_counts_of_an_hour_leave_no_gap_and_the_grid_stays(later_s, spec, is_joined):
    past = standing_of([toy_views(SPEC, as_of_s=START_S)])
    standing = standing_after(past, stored(toy_views(spec, as_of_s=START_S + later_s)))
    assert (standing.watched_since_s == START_S) is is_joined


def test_the_scores_say_which_cells_past_counts_hold_and_since_when_that_is_known(tmp_path):
    leave_frame(tmp_path)
    with running(toy_service(tmp_path, held_hours=0)) as base:
        client = Client(base)
        answer = client.json("/v1/regions/riverton/scores?category=theft")
        plain = client.get("/v1/regions/riverton/scores?format=csv").data
    ranked = sorted(answer["cells"], key=lambda row: -row["risk"])[:10]
    assert set(answer["held"].pop("cells")) == {row["cell"] for row in ranked if row["support"] != "no_history"}
    assert answer["held"] == {"hours": 0, "watched_since": answer["as_of"]}
    assert b",held" not in plain
    with running(toy_service(tmp_path)) as base:
        assert Client(base).json("/v1/regions/riverton/scores?category=theft")["held"]["cells"] == []


def test_processes_that_have_watched_long_enough_answer_alike_whenever_they_began(tmp_path):
    leave_frame(tmp_path)
    newest_s, said = START_S + STEP_S * 59, []
    for first in (0, 40, 50):
        service = toy_service(tmp_path, held_hours=12)
        with running(service) as base:
            service.frames.standing["riverton"] = standing_of(list(past(60))[first:])
            said.append(Client(base).json("/v1/regions/riverton/scores?category=theft")["held"])
    assert said[0] == said[1]
    assert said[0]["cells"]
    assert said[0]["watched_since"] == instant_text(newest_s - 12 * 3600)
    assert said[2] == {"hours": 12, "watched_since": instant_text(START_S + STEP_S * 50), "cells": []}


def test_the_option_of_the_command_reaches_the_service(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("service.app.application", given.append)
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: None)
    words = ["serve", "--frames", str(tmp_path), "--audit", str(tmp_path / "audit.jsonl"), "--held-hours", "6"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert given[0].held_hours == 6
