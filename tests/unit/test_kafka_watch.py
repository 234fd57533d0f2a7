import socket

import pytest

from schemas.errors import BrokerError
from streaming.kafka_watch import KafkaWatch

LONGEST_ABSENCE_S = 600


def test_an_absence_is_said_once_and_so_is_the_return(caplog):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        watch = KafkaWatch(f"127.0.0.1:{listener.getsockname()[1]}", LONGEST_ABSENCE_S)  # taken, but nobody listens
        with caplog.at_level("INFO"):
            for now_s in (0, 5, 10, LONGEST_ABSENCE_S - 1):
                watch.look(now_s)
        assert watch.is_away
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        listener.listen()
        with caplog.at_level("INFO"):
            watch.look(LONGEST_ABSENCE_S + 10)
    assert not watch.is_away
    assert "answers again after 610 s" in caplog.messages[-1]


def test_a_broker_that_stays_away_ends_the_job():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        watch = KafkaWatch(f"127.0.0.1:{listener.getsockname()[1]}", LONGEST_ABSENCE_S)
        watch.look(1000)
        watch.look(1000 + LONGEST_ABSENCE_S - 1)
        watch.look(1000 + LONGEST_ABSENCE_S)  # too soon after the last look to count
        with pytest.raises(BrokerError, match="has not answered for 605 s: start it"):
            watch.look(1000 + LONGEST_ABSENCE_S + 5)
