"""`python -m generator`, run in grafana-provisioning/: writes the dashboards."""

from generator.files import generated

for path, content in generated():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
