"""Changes of a region's versions. Each is on record in the audit log before it takes effect."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from lifecycle.registry.contract import ModelRegistry
from lifecycle.registry.copying import FIGURES, PAGE, is_own_file, manifest_digest
from lifecycle.registry.rules import Role, promoted, retired, rolled_back
from models.artifact.artifact import Artifact, read_artifact
from schemas.audit.log import AuditEvent, Plain
from schemas.errors import RegistryError
from schemas.left_behind.region_state import RegionState

Note = Callable[[AuditEvent, Mapping[str, Plain]], None]  # writes a record of the audit log


def register(registry: ModelRegistry, folder: Path, note: Note, evaluation: Path | None = None) -> Artifact:
    """Keep the artifact in `folder`, and the page in `evaluation`; it gets no role.

    Raises ArtifactError when it is damaged or has no network, or when there is no page.
    """
    if evaluation and not all(is_own_file(evaluation / name) for name in (PAGE, FIGURES)):
        raise RegistryError(f"{evaluation} has no {PAGE} and {FIGURES}", "name a folder that `models evaluate` wrote")
    artifact = read_artifact(folder)
    if artifact.network_error:
        raise artifact.network_error
    region, version, digest = artifact.spec.region, artifact.version, manifest_digest(folder)
    announce = partial(note, "model_registered", {"region": region, "version": version, "manifest_sha256": digest})
    registry.add(region, folder, digest, announce, evaluation)
    return artifact


def promote(registry: ModelRegistry, region: str, version: str, role: Role, note: Note) -> RegionState:
    """Make `version` champion or challenger. Raises RegistryError when it is retired or unknown."""

    def rule(state: RegionState) -> RegionState:
        after = promoted(state, version, role)
        if after != state:
            note("model_promoted", _details(region, state, version) | {"role": role})
        return after

    return registry.change(region, rule)


def roll_back(registry: ModelRegistry, region: str, note: Note) -> RegionState:
    """Make the champion before champion again. Raises RegistryError when there is none."""

    def rule(state: RegionState) -> RegionState:
        after = rolled_back(state)
        note("model_rolled_back", _details(region, state, after.champion or ""))
        return after

    return registry.change(region, rule)


def retire(registry: ModelRegistry, region: str, version: str, note: Note) -> RegionState:
    """Let `version` have no role again, ever. Raises RegistryError for the champion."""

    def rule(state: RegionState) -> RegionState:
        after = retired(state, version)
        if after != state:
            note("model_retired", _details(region, state, version))
        return after

    return registry.change(region, rule)


def _details(region: str, state: RegionState, version: str) -> dict[str, Plain]:
    return {
        "region": region,
        "version": version,
        "manifest_sha256": state.manifests[version],
        "champion_before": state.champion,
    }
