"""Grafana's pages drawn without Grafana, looked at by a program and for the pictures in the documents.

Grafana's own components (npm packages @grafana/ui and @grafana/data, Apache-2.0, in the version that compose.yaml runs)
draw stats, tables, lines and words. Map, state timeline and the frame about the panels are stand-ins of ours. So this
shows cut headers, colours, overflow and empty panels; it proves nothing about Grafana's own map, its provisioning,
alerting or login. Numbers along the axes of lines are painted on a canvas, where no DOM can be read.
"""
