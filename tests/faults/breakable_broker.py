"""A real broker that can be stopped, killed and frozen."""

import os
import signal
import time
from pathlib import Path

from streaming.rehearse.broker import Secured, free_port, start_broker
from tests.harness.fork_server import ForkServer
from tests.harness.proxy import Proxy

# A second listener that is told to clients as the proxy's address, so that everything they do goes through it.
PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:{{port}},PROXIED://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{{controller_port}}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},PROXIED://127.0.0.1:{proxy}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
"""


class TestBroker:
    """A broker whose process can be stopped, killed and frozen; it comes back on the same port with the same data.

    `bootstrap` leads to it directly, `proxied` through `proxy`. `commands`: where its jobs are forked, if anywhere.
    """

    __test__ = False

    def __init__(self, folder: Path, cache: Path, commands: ForkServer | None):
        self.folder, self.cache, self.commands, self.port = folder, cache, commands, 0
        self.proxy = Proxy(free_port()).__enter__()
        properties = PROPERTIES.format(behind=self.proxy.target, proxy=self.proxy.port)
        self._more = Secured(properties=properties, format_options=())
        self.start()

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    @property
    def proxied(self):
        return f"127.0.0.1:{self.proxy.port}"

    def start(self):
        """Also lets clients of `proxied` in: while the broker is down nobody listens there either."""
        self.broker = start_broker(self.folder, cache=self.cache, port=self.port, secured=self._more)
        self.port = self.broker.port
        self.proxy.open_door()

    def close(self):
        self.stop()
        self.proxy.__exit__()

    def stop(self):
        self.proxy.close_door()
        self.broker.stop()

    def kill(self):
        self.proxy.close_door()
        os.kill(self.broker.pid, signal.SIGKILL)
        self.broker.process.wait(60)

    def freeze(self, seconds):
        os.kill(self.broker.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.broker.pid, signal.SIGCONT)
