#!/bin/sh
# The JSON Schemas beside this file, from Grafana's own TypeScript types (npm, Apache-2.0). Needs node and npm.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --ignore-scripts --no-audit --no-fund @grafana/schema@13.2.3 ts-json-schema-generator@2.10.0
types=./node_modules/@grafana/schema/dist/types/raw
generate() { # generate FILE TYPE OUT
    echo "export type { $2 } from '$types/$1/x/types.gen';" > "$3.ts"
    npx ts-json-schema-generator --path "$3.ts" --type "$2" --no-type-check --expose none --out "$3.json"
}
generate dashboard Dashboard dashboard
mkdir options
for panel in barchart bargauge geomap stat statetimeline table text timeseries; do
    generate "composable/$panel/panelcfg" Options "$panel"
    mv "$panel.json" options/
done
python3 - "$here" <<'PYTHON'
import json
import sys
from pathlib import Path


def trimmed(node):
    """Without descriptions, which check nothing."""
    if isinstance(node, dict):
        return {k: trimmed(v) for k, v in node.items() if not (k == "description" and isinstance(v, str))}
    return [trimmed(v) for v in node] if isinstance(node, list) else node


def write(name, schema):
    text = json.dumps(trimmed(schema), separators=(",", ":"), sort_keys=True) + "\n"
    (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")


write("dashboard.json", json.loads(Path("dashboard.json").read_text()))
write("panel-options.json", {path.stem: json.loads(path.read_text()) for path in Path("options").glob("*.json")})
PYTHON
