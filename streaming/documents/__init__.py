"""Documents for officials, made from an artifact, the settings and the table of what is kept."""
