"""`python -m generator FOLDER`: writes the folder that Grafana reads, with alerts in the language RISK_LANGUAGE."""

import os
import sys
from pathlib import Path

from generator.files import write
from schemas.errors import errors_in_one_line
from schemas.languages import ENGLISH

with errors_in_one_line():
    write(Path(sys.argv[1]), os.environ.get("RISK_LANGUAGE") or ENGLISH)  # noqa: TID251 - as the other programs' `__main__`
