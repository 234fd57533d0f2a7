import signal

import pytest

from streaming.stopping import stop_on_signals


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
    assert stop.is_set()
    assert "stopping" in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(second)
