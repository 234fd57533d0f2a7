import gc
import os
import ssl
import threading
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

import pytest
from hypothesis import Phase, settings

from tests.harness.stub_store import Handler, StubStore

pytest_plugins = [
    "tests.harness.browser",
    "tests.harness.expected_skips",
    "tests.harness.fixtures",
    "tests.harness.needs",
    "tests.harness.object_store",
]

# Several workers of pytest share the cores: threads of theirs would spin while they wait for one another. A test of
# torch took ten times as long beside another one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Each Java lives for seconds: its second compiler would take a third of all its time and bring nothing back, and to
# verify the classes of released jars anew in each takes a seventh.
JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote")
os.environ.setdefault("JDK_JAVA_OPTIONS", " ".join(JAVA))

# A test without a number of its own runs 100 examples, wherever it is run from. How fast one is says something about
# the machine, not about the program. Each run draws examples of its own, in CI too, where Hypothesis would repeat one
# draw.
settings.register_profile("tests", max_examples=100, deadline=None, derandomize=False)
# A change is noticed by any failing example: nobody reads the smallest one.
settings.register_profile("mutants", settings.get_profile("tests"), phases=(Phase.explicit, Phase.generate))
settings.load_profile("tests")


def pytest_collection_finish():
    """What was imported stays to the end: without this the garbage collector walks through all of it anew each time."""
    gc.freeze()


@contextmanager
def serving(tls: ssl.SSLContext | None = None):
    """The store while it listens, over TLS if a context with a certificate is given."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # a client that breaks off is what some tests are about
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.store = StubStore(url=f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.store
    finally:
        server.store.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def stub_store():
    with serving() as store:
        yield store


@pytest.fixture
def stub_store_over_tls():
    """Gives `with stub_store_over_tls(context) as store`."""
    return serving
