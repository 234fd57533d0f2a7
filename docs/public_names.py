"""The public names for Python, by heading and module. Any other name may change at any time."""

PUBLIC = {
    "Events and incidents": {
        "schemas.event": "Event(...)",
        "schemas.decode": "Messages Decoded decode_messages",
        "schemas.incidents": "Incidents Rejection",
        "schemas.dead_letter": "DeadLetter(...) encode_dead_letter",
    },
    "Places, meaning and scores": {
        "schemas.grid": "Grid",
        "schemas.spec": "Spec Level differences",
        "schemas.frame": "RiskFrame riskiest",
    },
    "Sinks": {
        "streaming.sinks.sink": "Sink() WriteReport count_lines open_sink",
        "streaming.settings": "Settings()",
    },
    "Features": {
        "models.feature_lists": "Feature RecentCounts LongMemory RegionLevels declare",
        "models.features": "FeatureEngine Features feature_names",
    },
    "Networks": {"models.network": "RiskNetwork() NetworkShape", "models.networks": "kind_of_network"},
    "Scores and artifacts": {
        "models.scoring": "CellScores score",
        "models.counting.count_state": "CountState Applied",
        "models.artifact.artifact": "Artifact read_artifact",
        "schemas.left_behind.pointer": "Pointer(...)",
        "models.artifact.pointer": "champion_of challenger_of",
    },
    "Rivals": {"models.evaluation.contract": "Rival() Forecaster() Regression() Regressor() least_mean"},
    "Incident files": {"models.files.layouts": "Layout parse_layout"},
}
ERRORS = """## Errors

```{eval-rst}
.. automodule:: schemas.errors
   :show-inheritance:
   :exclude-members: errors_in_one_line
```"""


def public_names() -> str:
    """Sections of directives for Sphinx, which shows each name with its docstring."""
    sections = []
    for heading, modules in PUBLIC.items():
        lines = [line for module, names in modules.items() for line in directives(module, names)]
        sections.append("\n".join([f"## {heading}", "", "```{eval-rst}", *lines, "```"]))
    return "\n\n".join([*sections, ERRORS])


def directives(module: str, names: str) -> list[str]:
    """The module, then a directive for each name; a signature that would say nothing is written shorter."""
    kinds = [("class" if name[0].isupper() else "function", name) for name in names.split()]
    return [f".. currentmodule:: {module}", *(f".. auto{kind}:: {name}" for kind, name in kinds)]
