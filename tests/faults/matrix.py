"""The promises (invariants) and the fault matrix: for each fault what is injected, and which promises must hold.

What the actions of tests/faults/scenario.py can inject, test_scenarios.py plays by itself. Other tests that inject a
fault carry its mark, `@pytest.mark.fault("F12")`; `python -m tests.faults list` names them all.
"""

import os
from dataclasses import dataclass, field

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

IN_SCENARIO = "I1 to I10, I12"


@dataclass(frozen=True)
class Fault:
    id: str
    what: str
    injected: str
    holds: str
    not_run: str = ""  # why there is no test
    plays: dict = field(default_factory=dict)  # scenario -> its actions between the first and the last load of events


FAULTS = (
    Fault("F00", "none", "the same scenario without a fault, on either clock", "I1 to I8, I12"),
    Fault(
        "F01",
        "the job is killed",
        "SIGKILL to the process group: at a random time, between batches, after the offsets, in the middle of the "
        "store's write, after the write before the commit; at seven hours at which a forecast is kept and horizons "
        "close, also between that forecast and the commit",
        f"{IN_SCENARIO}; I13",
        plays={
            "kill_now": (("kill", "now"),),
            "kill_after_offsets": (("kill", "after offsets"),),
            "kill_in_write": (("kill", "in write"),),
            "kill_after_write": (("kill", "after write"),),
        },
    ),
    Fault(
        "F02",
        "the job is told to stop",
        "SIGTERM to the process, SIGTERM and SIGINT to its group, a restart in the middle of the load",
        f"exit 0 without a stack trace; of the restart in the middle of the load {IN_SCENARIO}",
        plays={"restart": (("restart", None),)},
    ),
    Fault(
        "F03", "the job is frozen", "SIGSTOP to the process group for 60 s, events meanwhile", "I1 to I5, I7, I8, I10"
    ),
    Fault(
        "F04",
        "an executor is killed",
        "SIGKILL to one of two executors in `local-cluster[2,1,1024]`; to one of two workers of a cluster that share"
        " nothing with the job but Spark's state, then the other one frozen for 60 s",
        "another one takes its place; I1 to I5, I7, I8: every score is the artifact's; I10",
    ),
    Fault(
        "F05",
        "Python workers are killed",
        "SIGKILL to all of them in the middle of a task, three times; one that ends with 137 at every try, as under an"
        " out-of-memory killer",
        "I3 to I6: points and dead letters are those of an undisturbed run; I9: after four tries exit 7 with"
        " the reason, nothing is committed",
    ),
    Fault(
        "F06",
        "Kafka is away",
        "nothing listens at the start; the broker stops for 4 s, and until Spark's query has failed; it is frozen for 8"
        " s and for 75 s; the way to it is cut, refused for 9 s, silent for 8 s, slowed to 0.2 s a packet; events are "
        "sent while it is stopped or frozen",
        f"{IN_SCENARIO}: reported within seconds if nothing listens, after a minute if Kafka does not answer; exit 5 "
        "if it stays away",
        plays={
            "broker_restart": (("broker_restart", 4),),
            "broker_freeze": (("broker_freeze", 8),),
            "broker_freeze_long": (("broker_freeze", 75),),
            "kafka_cut": (("kafka_cut", None), ("produce", 20), ("kafka_cut", None)),
            "kafka_down": (("kafka_down", 9), ("produce", 20)),
            "kafka_hangs": (("kafka_hangs", 8), ("produce", 20)),
            "kafka_slow": (("kafka_slow", 6), ("produce", 20)),
        },
    ),
    Fault(
        "F07",
        "Kafka is killed",
        "SIGKILL to the broker while events are sent, restart after 4 s",
        f"{IN_SCENARIO}: acknowledged events are there, others count if they are",
        plays={"broker_kill": (("broker_kill", 4),)},
    ),
    Fault(
        "F08",
        "Kafka deletes events before they are read",
        "records deleted while the job is stopped, and while it runs",
        "I9: exit 9, which counts the offsets by partition; nothing is written",
    ),
    Fault(
        "F09",
        "the topic is deleted and created again",
        "by the admin API, while the job is stopped and while it runs, then shorter and longer than what was read",
        "I9: exit 8, which names both ids",
    ),
    Fault(
        "F10",
        "partitions are added",
        "two more while it runs",
        IN_SCENARIO,
        plays={"partitions": (("add_partitions", 2), ("produce", 60))},
    ),
    Fault("F11", "poison messages", "119 kinds, between good ones", "I2, I3, the good messages count"),
    Fault("F12", "tombstones, empty values", "among the poison and in every scenario", "I3: `null_value`, `not_json`"),
    Fault(
        "F13",
        "giant payloads",
        "60 messages of 900 kB (54 MB) between good events; 150,000 of 8 kB (1.2 GB) in one batch",
        "I1 to I5, I7, I8; a message beyond the limit reaches no parser, and a task keeps no more payload than it may",
    ),
    Fault("F14", "the same event again", "in the same batch, in another one, after a restart", "I1, I2"),
    Fault(
        "F15",
        "the same id with other content",
        "higher, equal and lower revisions, cancellations",
        "I1: the highest revision counts",
    ),
    Fault("F16", "events out of order", "shuffled micro-batches, delays of up to 20 h", "I1 exactly"),
    Fault(
        "F17",
        "events that are too late",
        "a second inside and outside of the limit, days behind the clock",
        "I2, I3: `late`",
    ),
    Fault(
        "F18",
        "events of the far future",
        "2099, 40 days ahead, a second outside of the limit",
        "I2, I3: `future`; no clock moves",
    ),
    Fault(
        "F19",
        "impossible times",
        "no offset, numbers, leap seconds, epoch 0, year 9999, a Kafka timestamp that Spark cannot read",
        "I3; the last one ends the job, and the error names its place",
    ),
    Fault(
        "F20",
        "the host's clock steps",
        "an hour back under the running job, Java too (a preloaded clock); an hour back and an hour ahead, by the "
        "injected clock",
        "I1 to I5, I7, I8, I10; events with right times are refused as `future` while our clock is behind",
    ),
    Fault(
        "F21",
        "no message arrives",
        "a silent region on both clocks; a map whose frame is no longer written",
        "scores at every tick; the page says STALE",
    ),
    Fault(
        "F22",
        "the store is away, slow or cuts answers",
        "refused and cut connections, no answer for 8 s, 0.2 s a packet, 503, 429, Retry-After, a body cut after 700 "
        "and 5,000 bytes, a lost acknowledgement; while horizons close: refused connections until the query "
        "has ended, 503, a cut body, a lost acknowledgement",
        f"{IN_SCENARIO}: the stream waits; I13",
        plays={
            "store_down": (("store_down", 9), ("produce", 20)),
            "store_hangs": (("store_hangs", 8), ("produce", 20)),
            "store_slow": (("store_slow", 6), ("produce", 20)),
            "store_503": (("store_503", 3), ("produce", 20)),
            "store_loses_answer": (("store_loses_answer", None), ("store_loses_answer", None)),
            "store_cut": (("cut", None), ("produce", 20), ("cut", None)),
        },
    ),
    Fault(
        "F23",
        "the store refuses a line",
        "400 with the forms of InfluxDB 1, 2 and 3",
        "I9: exit 6 with the line's number; no repeated write",
    ),
    Fault(
        "F24",
        "the store accepts only a part",
        "422 for retention, for a type conflict, a limit of the store, a bad field name",
        "dropped points that are too old are counted; everything else stops",
    ),
    Fault(
        "F25",
        "the store's disk is full",
        "500 with `no space left on device`; a full file system under the file sink (its answer, not a real one)",
        "the write is repeated, then exit 6",
    ),
    Fault("F26", "a field changes its type", "every number read back from InfluxDB", "all are floats"),
    Fault(
        "F27",
        "wrong token, read-only token, no bucket",
        "401, 403, 404, at the start and while it runs",
        "I9: exit 6 with the remedy, at once",
    ),
    Fault(
        "F28",
        "a damaged artifact",
        "files missing, cut, bit-flipped, linked, a pickle inside, half copied",
        "refused with the reason; the old one stays; damaged weights leave the baseline",
    ),
    Fault(
        "F29",
        "an artifact of another spec",
        "other categories, another tick, features that this program does not compute",
        "refused; the stored counts are not touched",
    ),
    Fault(
        "F30",
        "a model that gives invalid scores",
        "NaN weights, weights that do not fit, scores out of range",
        "the baseline, and the point says so; I8",
    ),
    Fault(
        "F31",
        "a damaged checkpoint",
        "offsets cut to 0 bytes; the last offsets, metadata or state deleted; a bit flipped in the state's newest "
        "changes, in its snapshot, in the tables of the snapshot, these with and without the changes that led to them;"
        " the last commit deleted",
        "I9: exit 8 with the remedy, nothing is written; without its commit the last batch is repeated and nothing is "
        "counted twice; a damaged snapshot gives the same scores if all changes are there",
    ),
    Fault("F32", "two jobs on one checkpoint", "a second process", "I9: exit 8, which names the first"),
    Fault(
        "F33", "wrong settings", "misspelt names, wrong types, contradictions", "all of them reported at once, exit 2"
    ),
    Fault(
        "F34",
        "the checkpoint's disk is full",
        "a file system of 8 MB that is filled while the job runs",
        "I9: exit 7 or 8; I1 to I5, I7, I8 and I10 when there is room again",
    ),
    Fault(
        "F35",
        "the dead-letter topic is gone",
        "deleted while the job runs, then a bad message",
        "I9: exit 5, nothing more is committed; I1 to I5, I7, I8 and I10 once it is there again",
    ),
    Fault(
        "F36",
        "the host loses power",
        "",
        "depends on the journal of the file system",
        not_run="cannot be injected without a machine to switch off; a 0-byte offsets file, its usual trace, is in F31",
    ),
    Fault(
        "F37",
        "the GPU is lost",
        "a device that raises when the network is moved to it or used; no CUDA on a task that was given a GPU",
        "the baseline, and the point says so; without CUDA the network, on the CPU",
    ),
    Fault(
        "F38",
        "one batch fails again and again",
        "a decoder that raises for one payload (test build)",
        "I9: exit 7 after four tries, with the batch and its offsets; the next start fails the same way",
    ),
    Fault(
        "F39",
        "Kafka refuses the sign-in or a right",
        "wrong password, user, authority, name; an expired certificate; no TLS; a right that is missing or taken away",
        "I9: exit 5 with one line that names it, few connections; I12",
    ),
    Fault(
        "F40",
        "the store's certificate or our token is invalid",
        "unknown, expired, early and foreign certificates, no TLS, unknown and read-only tokens",
        "I9: exit 6 at once, the token is not sent",
    ),
    Fault(
        "F41",
        "a crash tears the log of batches",
        "half a line, a batch that is repeated, the counts that begin a day, a swapped artifact, a restart",
        "of a batch the last whole line counts; a recount of the log gives the stored scores bit for bit",
    ),
    Fault(
        "F42",
        "somebody edits the audit log",
        "any byte, any line removed or moved, the whole log, a torn end; two processes that write at once",
        "`audit` names the line; of two writers no line is lost",
    ),
    Fault(
        "F43",
        "a secret could leak",
        "canaries as password and token, by file and by environment, in a job that runs and one that is refused",
        "I12: in no process's arguments, log, checkpoint, artifact, page, plan",
    ),
    Fault(
        "F44",
        "regions and artifacts change while it runs",
        "a region joins, then a newer artifact of another one",
        IN_SCENARIO,
        plays={"region_and_swap": (("add_region", None), ("produce", 20), ("swap_artifact", None))},
    ),
    Fault(
        "F45",
        "what forecasts follow fails",
        "SIGKILL before each write of a follower that learns; its file is missing, damaged, older than three days; "
        "another version takes over, without and with what its own follower learned",
        "what was learned is that of an undisturbed run; without a file that can be used the network alone scores, "
        "and health says why; a recount by the log of batches gives every score to the bit",
    ),
)


# By what a test shows it, by the beginning of its name; the longest that fits counts.
SHOWN_BY = {
    "tests/": "pure",
    "tests/faults/": "real",
    "tests/stack/": "real",
    "tests/stack/test_broker.py": "part",
    "tests/stack/test_service_page": "part",
    "tests/stack/test_stores.py": "part",
    "tests/spark/": "part",
    "tests/spark/test_workers.py::test_a_device_that_is_lost": "pure",
    "tests/spark/test_workers.py::test_a_damaged_network": "pure",
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
