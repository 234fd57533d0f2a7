"""`python -m generator FOLDER`: writes the folder that Grafana reads."""

import sys
from pathlib import Path

from generator.files import write

write(Path(sys.argv[1]))
