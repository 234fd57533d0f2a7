"""What the invariants say, and by what a test shows them: the words of docs/reliability.md."""

RECOVERY_LIMIT_S = 60.0
INVARIANTS = {
    "I1": "every valid event is counted exactly once: ledger, `observed_1h` and `usual` of every tick that was written "
    "are recounted, and each counted incident shows in one of them",
    "I2": "consumed = counted + corrected + duplicate + excluded + rejected, in every point that was ever written; "
    "what Kafka acknowledged to a producer is in the topic",
    "I3": "every refused message is in the dead-letter topic with its reason, place, time and, where it is kept, its "
    "payload; no other one is",
    "I4": "no score is missing: one point for each cell, category and horizon at every tick that was written, quiet "
    "ones included; the store dropped none",
    "I5": "no score is doubled: a repeated batch overwrites its own points",
    "I6": "the points are those of one calm pass over the topic without Spark, but for the machine's own figures and "
    "the `outcome` measurements (I13)",
    "I7": "clocks, offsets and `consumed` never go back, as they were written; nothing is committed before the store "
    "has it, looked at ten times a second",
    "I8": "every score is finite and follows from its mean: risk, low and high as recounted, one model that was in "
    "force for a tick, and the right support",
    "I9": "a fault is never quiet: a line of warning, a health file that is not ready, or the exit code of its side (5 "
    "for Kafka, 6 for the store), which speak of the side that the fault is on, where it was felt for more than 8 s "
    "(nobody listens where Kafka was), 6 s (the store), or 65 s (a Kafka that listens and is silent); no other exit "
    "code comes of a fault, and the last SIGTERM ends with 0",
    "I10": "recovery within 60 s after the fault has ended: all that had been sent is in the store, and after a fault "
    "of some seconds beside the load, the next batch is committed; a job that ended is started again after a second at "
    "most, so a supervisor's pause comes on top",
    "I11": "memory, files and threads stay flat: nothing here asserts it, [soak.md](soak.md) does (`make soak`)",
    "I12": "no secret and no payload in any log, health file or record beside the checkpoint",
    "I13": "each `outcome`, `outcome_area` and `outcome_chance` that is due is in the store as recounted for its last "
    "judgement, each judgement was written, in order, and no other one is there. Any is due only in the story of 49 "
    "hours that F01 and F22 have among their tests; no other scenario, and no seed, lasts until a horizon has closed",
}

# By what a test shows it, by the beginning of its name; the longest that fits counts.
SHOWN_BY = {
    "tests/": "pure",
    "tests/faults/": "real",
    "tests/stack/": "real",
    "tests/stack/test_broker.py": "part",
    "tests/stack/test_map_page_browser.py": "part",
    "tests/stack/test_stores.py": "part",
    "tests/spark/": "part",
    "tests/spark/test_device.py::test_a_device_that_is_lost": "pure",
    "tests/unit/disk/test_between_processes.py": "part",
    "tests/unit/sinks/test_influx_answers.py": "part",
    "tests/unit/sinks/test_influx_tls.py": "part",
}


def shown_by(test):
    """`real`, `part` or `pure`; docs/reliability.md says what they mean."""
    return SHOWN_BY[max((start for start in SHOWN_BY if test.startswith(start)), key=len)]
