import threading
from http.server import ThreadingHTTPServer

import pytest

from tests.harness.stub_store import Handler, StubStore


@pytest.fixture
def stub_store():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.store = StubStore(url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.store
    server.store.released.set()
    server.shutdown()
    thread.join()
    server.server_close()
