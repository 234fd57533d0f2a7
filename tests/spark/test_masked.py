"""The masks reach Spark's workers, and no file of the job has a coordinate of theirs."""

from pathlib import Path

import numpy as np
from pyspark import SparkFiles

from schemas.areas import read_masks
from tests.harness.masks import box, mask_file
from tests.harness.region_bench import empty_history
from tests.harness.toy import toy_event

START_S = 1_700_002_800
SIDES = (-87.9957317, 41.0012341, -87.9912349, 41.0077431)
IN, OUT = {"lat": 41.0033173, "lon": -87.9931417}, {"lat": 41.0193173, "lon": -87.9731417}


def test_an_incident_in_a_mask_is_excluded_in_sparks_workers_and_no_file_betrays_the_mask(
    new_job, toy, publish, tmp_path_factory
):
    path = mask_file(tmp_path_factory.mktemp("masks") / "masks.geojson", box(*SIDES))
    spec, job = toy("riverton", masked=read_masks(path).digest), new_job("masked")
    publish(job.artifacts, spec, history=empty_history(spec, START_S))
    events = [toy_event(spec, at_s=START_S, cell=0, incident_id=name, **at) for name, at in (("a", IN), ("b", OUT))]
    job.run_through([[(event, 0, number, START_S * 1000) for number, event in enumerate(events)]], masks=path)
    totals = job.with_messages()[-1].summaries["riverton"].totals
    assert (totals["counted"], totals["excluded"]) == (1, 1)
    files = [each for each in job.folder.rglob("*") if each.is_file() and "input" not in each.parts]
    assert {"checkpoint", "artifacts"} <= {each.relative_to(job.folder).parts[0] for each in files}
    assert {"metadata", "roster.json"} <= {each.name for each in files}
    files += tmp_path_factory.getbasetemp().glob("session[0-9]*/spark.log")
    files += [each for each in Path(SparkFiles.getRootDirectory()).parent.rglob("*") if each.is_file()]
    contents = [each.read_bytes() for each in files] + job.sink.writes
    for number in (*SIDES, *IN.values()):
        forms = (f"{abs(number):.6f}".encode(), np.float64(number).tobytes())
        assert not any(form in content for form in forms for content in contents)
