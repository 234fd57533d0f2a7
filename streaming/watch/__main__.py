"""`python -m streaming.watch`: a container's health check, which costs a tenth of the command `health`."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from streaming.watch.health import read_health

if __name__ == "__main__":
    folder = Path(os.environ["RISK_CHECKPOINT"])  # noqa: TID251 - as the other programs' `__main__`
    _, reason = read_health(folder, datetime.now(UTC))
    sys.stdout.write(f"not ready: {reason}\n" if reason else "ready\n")
    sys.exit(bool(reason))
