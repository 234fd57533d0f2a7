"""What the invariants say, and by what a test shows them: the words of docs/explanation/reliability.md."""

import os

RECOVERY_LIMIT_S = 60.0
OWN_LOAD = 4.0  # processes that a job which starts, its broker and its test keep busy by themselves
INVARIANTS = {
    "I1": "Every valid event counts exactly once. Ledger, `observed_1h` and `usual` of every tick are recounted.",
    "I2": "consumed = counted + corrected + duplicate + repeated + excluded + rejected, in every point.",
    "I3": "Every refused message, and no other, is in the dead-letter topic, with its reason, place, time and (where "
    "it is kept) its payload.",
    "I4": "No score is missing: each written tick has one point for each cell, category and horizon.",
    "I5": "No score is doubled: a repeated batch overwrites its own points.",
    "I6": "The scores equal those of one calm pass over the topic without Spark, and each batch's ledger is the same.",
    "I7": "Clocks, offsets and `consumed` never go back. Nothing is committed before the store has it.",
    "I8": "Every score is finite, and risk, low and high follow from its mean. Each tick uses one model in force.",
    "I9": "A fault is never silent: a warning line, a health file that is not ready, or the exit code of its side (5 "
    "Kafka, 6 store) and no other, when it lasts for more than 8 s (nothing listens at Kafka's address), 6 s (the "
    "store) or 65 s (Kafka listens but does not answer). The last SIGTERM ends with 0.",
    "I10": "Within 60 s after the end of a fault all that was sent is in the store; under load, the next batch.",
    "I11": "Memory, files and threads grow no faster than [bounds](load.md#does-anything-grow-in-an-hour). Only `make "
    "load` checks it.",
    "I12": "No secret and no payload is in any log, health file or record of the checkpoint folder.",
    "I13": "Each `outcome`, `outcome_area` and `outcome_chance` that is due, and no other, is in the store as "
    "recounted, each judgement in order. Only scenarios of 49 hours reach it (F01, F22).",
}

# By what a test shows it, by the beginning of its name; the longest that fits counts.
SHOWN_BY = {
    "tests/": "pure",
    "tests/faults/": "real",
    "tests/stack/": "real",
    "tests/stack/test_broker.py": "part",
    "tests/stack/test_service_page": "part",
    "tests/stack/test_stores.py": "part",
    "tests/spark/": "part",
    "tests/spark/test_device.py::test_a_device_that_is_lost": "pure",
    "tests/spark/test_device.py::test_a_damaged_network": "pure",
    "tests/unit/disk/test_audit.py::test_a_second_writer": "part",
    "tests/unit/disk/test_audit.py::test_writers_take_turns": "part",
    "tests/unit/sinks/test_influx.py": "part",
}


def waited_s():
    """How long a recovery may take now, in seconds: longer where other work waits for the same cores.

    `make faults`, which plays one fault at a time, holds the promise itself.
    """
    own = max(OWN_LOAD, len(os.sched_getaffinity(0)))
    return RECOVERY_LIMIT_S * max(1.0, os.getloadavg()[0] / own)


def shown_by(test):
    """`real`, `part` or `pure`; docs/explanation/reliability.md says what they mean."""
    return SHOWN_BY[max((start for start in SHOWN_BY if test.startswith(start)), key=len)]
