"""Asking day after day: who is asked when, what is written down, and that no failure ends or hides it."""

import pytest

from lifecycle.gate.asked import Asked, asked_path, keep_asked, read_asked
from lifecycle.retraining.daily import Asking
from schemas.errors import ArtifactError, DataError, GateClosed

HOUR, DAY = 3600, 86_400


LOOK = 900  # as `watch` looks


class World:
    """Asks of some regions, look by look on a clock of its own."""

    def __init__(self, folder, regions, answers):
        self.folder, self.regions, self.answers = folder, regions, answers
        self.now, self.calls, self.said = 1_800_000_000, [], []
        for region in regions:
            (folder / region).mkdir()
        self.asking = Asking(artifacts=folder, ask=self.ask, say=self.said.append, now_s=lambda: self.now)

    def ask(self, region):
        self.calls.append((region, (self.now - 1_800_000_000) / HOUR))
        self.during = read_asked(self.folder, region)
        answer = self.answers(region, len(self.calls))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def live(self, days):
        end, self.faults = self.now + days * DAY, []
        while self.now < end:
            self.faults.append(self.asking.each(self.regions, due_alone=True))
            self.now += LOOK


def test_each_region_is_asked_once_a_day_also_over_a_restart(tmp_path):
    world = World(tmp_path, ["north", "south"], lambda *_: ("nothing due", "fine"))
    world.live(2.5)
    assert [call for call in world.calls if call[0] == "north"] == [("north", 0), ("north", 24), ("north", 48)]
    world.live(0.25)  # started again: it was asked twelve hours before
    assert len(world.calls) == 6
    asked = read_asked(tmp_path, "south")
    assert (asked.outcome, asked.because, asked.made_s) == ("nothing due", "fine", None)
    assert asked.at_s == 1_800_000_000 + 2 * DAY
    assert set(world.faults) == {None}


@pytest.mark.parametrize(
    "error", [DataError("the archive lacks 2 days", "add them"), MemoryError(), ZeroDivisionError()]
)
def test_an_ask_that_fails_is_said_and_repeated_and_keeps_no_other_from_its_turn(tmp_path, error):
    world = World(tmp_path, ["north", "south"], lambda region, _: error if region == "north" else ("waits", "x"))
    world.live(0.2)
    assert [at for region, at in world.calls if region == "north"] == [0, 1, 2, 3, 4]
    assert [at for region, at in world.calls if region == "south"] == [0]
    assert world.said == ["south: waits: x"]
    asked = read_asked(tmp_path, "north")
    assert (asked.outcome, asked.at_s) == ("failed", 1_800_000_000 + 4 * HOUR)
    assert (type(error).__name__ in asked.because) or asked.because == str(error)
    assert [fault for fault in world.faults if fault is error] == [error] * 5
    others = [str(fault) for fault in world.faults if fault is not error]
    assert all(f"the last ask of north failed ({asked.because})" in other for other in others)


@pytest.mark.parametrize("error", [DataError("lost", "find it"), ZeroDivisionError("by zero")])
def test_a_second_fault_is_said_and_one_that_nobody_expects_with_its_trace(tmp_path, error):
    world = World(tmp_path, ["north", "south"], lambda *_: error)
    assert world.asking.each(world.regions) is error
    assert any("Traceback" in line for line in world.said) != isinstance(error, DataError)
    assert world.said[-1].startswith("south: failed: ")


def test_of_one_ask_each_fault_is_said_once_the_first_by_the_caller(tmp_path):
    faults = {"north": GateClosed("not better", "train another"), "east": DataError("lost", "find it")}
    world = World(tmp_path, ["south", "north", "east"], lambda region, _: faults.get(region, ("waits", "x")))
    assert world.asking.each(world.regions) is faults["north"]
    assert world.said == ["south: waits: x", "east: failed: lost: find it"]
    assert [read_asked(tmp_path, region).outcome for region in world.regions] == ["waits", "refused", "failed"]


def test_a_refusal_is_no_failure_and_a_challenger_is_remembered(tmp_path):
    answers = [("trial started", "made"), GateClosed("not better", "train another"), ("on trial", "x")]
    world = World(tmp_path, ["north"], lambda _, number: answers[number - 1])
    world.live(2.9)
    assert [at for _, at in world.calls] == [0, 24, 48]
    assert "north: refused: not better" in "".join(world.said)
    asked = read_asked(tmp_path, "north")
    assert (asked.made_s, asked.at_s) == (1_800_000_000, 1_800_000_000 + 2 * DAY)
    assert set(world.faults) == {None}


def test_an_ask_that_was_killed_has_failed(tmp_path):
    """It is written down before the ask begins: training may run out of memory."""
    world = World(tmp_path, ["north"], lambda *_: ("waits", "x"))
    world.live(0.01)
    assert (world.during.outcome, world.during.because) == ("failed", "it did not come to its end")


def test_a_damaged_record_is_written_again_and_a_clock_that_was_set_back_stops_nothing(tmp_path):
    world = World(tmp_path, ["north"], lambda *_: ("waits", "x"))
    asked_path(tmp_path, "north").write_bytes(b"{")
    with pytest.raises(ArtifactError, match="cannot be used"):
        read_asked(tmp_path, "north")
    world.live(0.1)
    assert len(world.calls) == 1
    keep_asked(tmp_path, "north", "waits", "x", now_s=world.now + 30 * DAY)
    world.live(0.01)
    assert len(world.calls) == 2
    (tmp_path / "north" / ".retrain.json.part").mkdir()
    with pytest.raises(ArtifactError, match=r"north/retrain\.json cannot be written \(Is a directory\)"):
        keep_asked(tmp_path, "north", "waits", "x", now_s=5)


def test_a_region_without_a_folder_gets_none(tmp_path):
    keep_asked(tmp_path, "nowhere", "failed", "x", now_s=5)
    assert not list(tmp_path.iterdir())
    assert Asked(at_s=5, outcome="waits", because="x").made_s is None


def test_a_region_whose_record_cannot_be_written_keeps_no_other_from_its_turn(tmp_path):
    """Nothing is trained for it."""
    world = World(tmp_path, ["north", "south"], lambda *_: ("waits", "x"))
    (tmp_path / "north" / ".retrain.json.part").mkdir()
    world.live(0.2)
    assert world.calls == [("south", 0)]
    assert all("north/retrain.json cannot be written" in str(fault) for fault in world.faults)
    assert isinstance(world.asking.each(world.regions), ArtifactError)
    assert [region for region, _ in world.calls] == ["south", "south"]


@pytest.mark.parametrize("answer", [("waits", "x"), DataError("lost", "find it")])
def test_a_record_that_cannot_be_written_after_the_ask_is_a_fault_and_hides_none(tmp_path, answer):
    def answers(*_):
        (tmp_path / "north" / ".retrain.json.part").mkdir()
        return answer

    world = World(tmp_path, ["north", "south"], lambda region, _: answers() if region == "north" else ("waits", "x"))
    fault = world.asking.each(world.regions)
    assert fault is answer or "cannot be written" in str(fault)
    assert world.said == ["north: waits: x", "south: waits: x"][isinstance(answer, DataError) :]
    assert read_asked(tmp_path, "north").outcome == "failed"
