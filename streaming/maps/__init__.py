"""What Grafana's maps need beside the store: outlines, areas and pages, as files."""
