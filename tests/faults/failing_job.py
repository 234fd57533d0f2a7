"""`risk run` with a decoder that raises for messages that say `deadly`, as a fault of ours would.

Each time it adds a line to the file that FAILING_JOB_TRIES names.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from incident_risk import main
from streaming.flow import intake as decode

tries = os.environ["FAILING_JOB_TRIES"]


def failing(messages, *rest, **more):
    from schemas.decode import decode_messages

    if b"deadly" in messages.data:
        with Path(tries).open("a") as file:
            file.write("once more\n")
        raise RuntimeError("a fault that escaped every test")
    return decode_messages(messages, *rest, **more)


decode.decode_messages = failing  # travels to the Python workers by value
sys.argv = ["risk", "run"]
main()
