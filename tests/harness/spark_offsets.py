"""The offsets in a checkpoint, as Spark writes them."""

import json


def spark_files(checkpoint, number, *, read, at_s, begin=None):
    """What Spark writes before a batch. read, begin: by partition, the first offset after it and before all batches."""
    offsets, source = checkpoint / "spark" / "offsets", checkpoint / "spark" / "sources" / "0"
    offsets.mkdir(parents=True, exist_ok=True)
    source.mkdir(parents=True, exist_ok=True)
    kafka = json.dumps({"incidents.v1": read}) if read else "-"
    lines = ["v1", json.dumps({"batchTimestampMs": at_s * 1000, "conf": {}}), kafka, json.dumps({"offset": number})]
    (offsets / str(number)).write_text("\n".join(lines), encoding="utf-8")
    if begin:
        (source / "0").write_text("\0v1\n" + json.dumps({"incidents.v1": begin}), encoding="utf-8")
