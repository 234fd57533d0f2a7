"""The proxy says what its faults have met: one that meets nobody must not pass for a fault."""

import socket
import threading
import time

import pytest

from tests.harness.proxy import Proxy


@pytest.fixture
def proxy():
    """Before a server that answers each byte with the same one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=echo, args=(server,), daemon=True).start()
        with Proxy(server.getsockname()[1]) as proxy:
            yield proxy


def echo(server):
    try:
        while True:
            connection, _ = server.accept()
            with connection:
                while byte := connection.recv(1):
                    connection.sendall(byte)
    except OSError:
        return


def ask(connection):
    connection.sendall(b"?")
    answer = connection.recv(1)
    if not answer:
        raise ConnectionError("it has ended")
    return answer


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_cut_meets_what_is_open_and_nothing_that_has_ended(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        assert ask(connection) == b"?"
    wait_until(lambda: not proxy.is_in_use)
    proxy.cut()
    assert not proxy.hits
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        assert ask(connection) == b"?"
        proxy.cut()
        assert len(proxy.hits["cut"]) == 1
        connection.settimeout(10)
        with pytest.raises(ConnectionError):
            connection.recv(1)  # at once, not only when something is sent


def test_what_is_refused_or_swallowed_is_a_hit(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        assert ask(connection) == b"?"
        proxy.swallows = True
        connection.sendall(b"?")
        wait_until(lambda: len(proxy.hits["swallows"]) == 1)
        proxy.heal()
    proxy.refuses = True
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection, pytest.raises(ConnectionError):
        ask(connection)
    assert proxy.accepted == 2
    assert {fault: len(met) for fault, met in proxy.hits.items() if met} == {"swallows": 1, "refuses": 1}
