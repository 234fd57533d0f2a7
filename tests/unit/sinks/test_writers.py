"""Some writers side by side: every act once, never more of them than asked for, and no error is lost."""

import threading
import time
from functools import partial
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.sinks.writers import side_by_side

LONG_S = 10.0


@given(count=st.integers(0, 30), writers=st.integers(1, 6))
def test_every_act_runs_once(count, writers):
    done = side_by_side([partial(int, number) for number in range(count)], writers=writers, failed=Event())
    assert sorted(done) == list(range(count))


def test_as_many_run_at_a_time_as_there_are_writers_and_the_caller_is_one():
    """A barrier is passed by three at once only: fewer would break it after a while."""
    together, most, running, lock = threading.Barrier(3, timeout=LONG_S), [], set(), threading.Lock()

    def act():
        with lock:
            running.add(threading.get_ident())
            most.append(len(running))
        together.wait()
        with lock:
            running.discard(threading.get_ident())
        return threading.current_thread()

    threads = side_by_side([act] * 12, writers=3, failed=Event())
    assert (max(most), len(threads)) == (3, 12)
    others = set(threads) - {threading.current_thread()}
    assert [thread.daemon for thread in others] == [True] * 2  # the process can end beside one that waits for a store


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration("no"), KeyboardInterrupt("no")])
@pytest.mark.parametrize("writers", [1, 4])
def test_an_error_is_raised_whatever_it_is_and_nothing_begins_after_it(error, writers):
    begun, failed = [], Event()

    def act(number):
        begun.append(number)
        if number == 2:
            raise error
        assert writers == 1 or number < 2 or failed.wait(LONG_S)  # it began before the error

    with pytest.raises(type(error), match="no"):
        side_by_side([partial(act, number) for number in range(40)], writers=writers, failed=failed)
    assert len(begun) <= 2 + writers


def test_the_first_of_two_errors_is_raised_when_both_acts_have_ended():
    failed, ended = Event(), []

    def late():
        failed.wait(LONG_S)
        time.sleep(0.05)
        ended.append(True)
        raise OSError("in vain")

    def first():
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        side_by_side([late, first], writers=2, failed=failed)
    assert ended == [True]
