"""The image's start under a container's conditions: read-only root, writable /tmp, no network, no capabilities."""

import os
import re
import sys

import pytest

from tests.harness.compose_file import ROOT, SERVICES
from tests.harness.processes import run

# The jars lie at /mnt, as at /opt/jars in the image. What is mounted below / stays writable only at /tmp.
CONTAINER = """
set -e
mount -t tmpfs -o noexec,nosuid,nodev,{tmpfs} tmpfs /tmp  # the first three are what Docker begins with
mount --bind "$JARS" /mnt
for place in /mnt $PLACES /; do
    mountpoint -q "$place" || mount --bind "$place" "$place"
    mount -o remount,bind,ro "$place"
done
if touch "$JARS/written" "$ROOT/written" ~/written 2> /dev/null; then exit 9; fi
ip link set lo up
cd /tmp
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs /bin/sh -c "$ENTRYPOINT" incident-scorer
"""
START = """
from pathlib import Path
from streaming.job.session import start_session
from streaming.settings import Settings
import os
session = start_session(Settings(cache=Path(os.environ["RISK_CACHE"]), driver_memory="512m"), Path("/tmp/log"))
print("JARS", session.sparkContext._jsc.sc().listJars().size())
session.stop()
"""


def entrypoint():
    text = (ROOT / "streaming" / "Dockerfile").read_text(encoding="utf-8")
    (shell,) = re.findall(r'^ENTRYPOINT \["/bin/sh", "-c", "(.*)", "incident-scorer"\]$', text, re.MULTILINE)
    assert 'exec python -m streaming "$@"' in shell.replace('\\"', '"')
    return shell.replace('\\"', '"').replace("/opt/jars", "/mnt").replace('-m streaming "$@"', '-c "$START"')


def test_spark_starts_from_the_images_jars_alone(jar_cache):
    jars = jar_cache.expanduser()
    if os.geteuid() != 0 or run("/usr/bin/unshare", "-n", "-m", "true").returncode:
        pytest.skip("mount and network namespaces need root")
    if not (jars / "ivy" / "jars").is_dir():
        pytest.skip(f"no start of Spark has filled {jars} yet")
    tmpfs = next(mount for mount in SERVICES["scorer"]["tmpfs"] if mount.startswith("/tmp:")).partition(":")[2]  # noqa: S108
    places = sorted({"/" + str(path).split("/")[1] for path in (ROOT, jars) if not str(path).startswith("/tmp")})  # noqa: S108
    ran = run(
        *("/usr/bin/unshare", "-n", "-m", "/bin/sh", "-c", CONTAINER.format(tmpfs=tmpfs)),
        env={
            **os.environ,
            "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "JARS": str(jars),
            "ROOT": str(ROOT),
            "PLACES": " ".join(places),
            "ENTRYPOINT": entrypoint(),
            "START": START,
            "RISK_CACHE": "/tmp/jars",  # noqa: S108 - the image's
            "HOME": "/tmp",  # noqa: S108
        },
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    listed = (ROOT / "deploy" / "jars.sha256").read_text().splitlines()
    assert f"JARS {len(listed)}" in ran.stdout
