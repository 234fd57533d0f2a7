"""What Spark's own checkpoint says: which batches were planned, where each ends in the topic, which are committed."""

import contextlib
import json


def newest(folder):
    """The highest batch number in a folder of Spark's checkpoint; -1 without one."""
    return max(numbers(folder), default=-1)


def numbers(folder):
    with contextlib.suppress(FileNotFoundError):
        return [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
    return []


def ends_of(spark, batch, topic):
    """By partition, the first offset after a batch; empty where its file is gone or says nothing of the topic."""
    return {int(partition): end for partition, end in (_written_of(spark, batch, topic) or {}).items()}


def time_ms_of(spark, batch):
    """The time that Spark gave a batch, the same at each of its tries; None where its file is gone or not whole yet."""
    return _written_of(spark, batch, "batchTimestampMs")


def _written_of(spark, batch, name):
    with contextlib.suppress(FileNotFoundError):
        for line in (spark / "offsets" / str(batch)).read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and name in found:
                    return found[name]
    return None


def committed(spark, topic):
    """Messages up to the end of the newest committed batch."""
    return sum(ends_of(spark, newest(spark / "commits"), topic).values())
