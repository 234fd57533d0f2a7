import signal
from pathlib import Path

import pytest

from streaming.process import stop_on_signals
from tests.harness.processes import run_python

ROOT = Path(__file__).parents[3]
SIGNAL_WHILE_THE_EVENT_IS_LOCKED = """
import signal, sys
from streaming.process import stop_on_signals
stop = stop_on_signals()
with stop._cond:
    signal.raise_signal(signal.{name})
sys.exit(0 if stop.wait(5) else 9)
"""


@pytest.fixture
def handlers():
    """What was there before is there again afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_a_wish_that_is_acknowledged_and_the_second_interrupts(first, second, capfd):
    stop = stop_on_signals()
    signal.raise_signal(first)
    assert stop.wait(5)
    assert "stopping" in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(second)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_in_the_middle_of_waiting_for_one_does_not_wait_for_itself(name):
    """In a process of its own: the fault would be one that never ends."""
    program = SIGNAL_WHILE_THE_EVENT_IS_LOCKED.format(name=name)
    ran = run_python("-c", program, cwd=ROOT, timeout=20)
    assert ran.returncode == 0, ran.stderr
