"""moto's server, which answers as S3 does over HTTP.

It needs other versions of packages than the product, so uv runs it in an environment of its own.
"""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from streaming.rehearse.broker import free_port

MOTO = "moto[s3,server]==5.2.5"
UV = Path(sys.executable).with_name("uv")
SECRET = "hidden-key"


@dataclass(frozen=True)
class ObjectStore:
    address: str
    process: psutil.Process

    @property
    def environment(self):
        """AWS's variables for a client of it."""
        return {
            "AWS_ACCESS_KEY_ID": "me",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.address,
        }

    def make_bucket(self, name):
        deadline = time.monotonic() + 60
        while True:
            try:
                request = urllib.request.Request(f"{self.address}/{name}", method="PUT")  # noqa: S310
                urllib.request.urlopen(request, timeout=5).close()  # noqa: S310
                return
            except urllib.error.URLError:
                assert time.monotonic() < deadline, "moto does not answer"
                time.sleep(0.2)


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """While it runs. It keeps everything in memory."""
    words = [UV, "tool", "run", "--from", MOTO, "moto_server"]
    fetched = subprocess.run([*words, "--help"], capture_output=True, text=True, check=False)
    if fetched.returncode:
        pytest.skip(f"moto could not be fetched: {fetched.stderr[-300:]}")
    port = free_port()
    with (
        (folder / "moto.log").open("w") as log,
        subprocess.Popen([*words, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log) as server,
    ):
        try:
            yield ObjectStore(f"http://127.0.0.1:{port}", psutil.Process(server.pid))
        finally:
            server.terminate()


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("moto")) as store:
        yield store
