"""Where the sample lies (streaming/sample/NOTICE.md says what it is; `python -m deploy.cut_sample` cuts it)."""

from pathlib import Path

SAMPLE = Path(__file__).parents[1] / "sample" / "chicago_sample.csv.gz"
ARTIFACTS = SAMPLE.parent / "artifacts"
REGION = "chicago"
DEMO_DAY = "2017-10-21"  # the sample's last day, a Saturday with 501 incidents
