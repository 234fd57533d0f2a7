"""Publishing an artifact: what training and a start without history write, and what scores only reads."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from models.artifact.history import pack_history
from models.artifact.manifest import (
    BASELINE,
    CARD,
    HISTORY,
    MANIFEST,
    WEIGHTS,
    DataSource,
    FileEntry,
    Manifest,
    Training,
    version_of,
)
from models.baseline import BaselineConstants
from models.counting.count_state import CountState
from models.hyperparameters import RecipeFile
from models.network_kinds import name_of_kind
from schemas.arrays import pack_arrays
from schemas.errors import ArtifactError
from schemas.files import make_writable, sha256, write_errors
from schemas.spec import Spec

if TYPE_CHECKING:  # torch takes seconds to import, and only training needs it
    from models.network import RiskNetwork


def check_writable(artifacts: Path) -> None:
    """Before the work is done: raises ArtifactError when nothing could be published under `artifacts`."""
    with write_errors(ArtifactError, artifacts, remedy="name another by --out"):
        make_writable(artifacts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What scores a region."""

    spec: Spec
    constants: BaselineConstants
    network: "RiskNetwork"
    history: CountState  # up to the data's cut-off


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a model is from. `recipe` and `training` say how its network was trained; None for one that was not."""

    data: DataSource
    created: str  # UTC, as 20260101T000000Z
    seed: int = 0
    libraries: Mapping[str, str] = field(default_factory=dict)
    evaluation: Sequence[dict[str, str | float]] = ()
    recipe: RecipeFile | None = None
    training: Training | None = None


def write_artifact(artifacts: Path, model: Model, provenance: Provenance, *, card: str) -> Path:
    """Publish an artifact under `artifacts` and give its folder. It appears whole or not at all.

    A file torn by a power cut fails its sha256, so the reader refuses the folder and takes the one before.
    """
    import safetensors.torch

    spec = msgspec.json.decode(model.spec.as_json(), type=Spec)  # whole numbers become floats where due
    weights = {name: tensor.contiguous() for name, tensor in model.network.state_dict().items()}
    contents = {
        WEIGHTS: safetensors.torch.save(weights),
        BASELINE: pack_arrays(model.constants.arrays()),
        HISTORY: pack_history(model.history),
        CARD: card.encode(),
    }
    files = {name: FileEntry(sha256=sha256(content), size_bytes=len(content)) for name, content in contents.items()}
    recipe = provenance.recipe
    manifest = Manifest(
        version=version_of(provenance.created, spec, files),
        created=provenance.created,
        spec=spec,
        spec_fingerprint=spec.fingerprint(),
        features=spec.features,
        data=provenance.data,
        seed=provenance.seed,
        libraries=dict(provenance.libraries),
        evaluation=list(provenance.evaluation),
        files=files,
        network=name_of_kind(model.network),
        recipe=recipe.recipe if recipe else None,
        tuned_on=recipe.tuned_on if recipe else None,
        training=provenance.training,
    )
    fields = {**msgspec.structs.asdict(manifest), "spec": msgspec.Raw(spec.as_json())}
    contents[MANIFEST] = msgspec.json.format(msgspec.json.encode(fields), indent=1)
    target = artifacts / spec.region / manifest.version
    temporary = artifacts / spec.region / f".{manifest.version}.new"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, content in contents.items():
        (temporary / name).write_bytes(content)
    if target.exists():
        shutil.rmtree(temporary)
        raise ArtifactError(f"{target} exists already, and versions never change", "train again")
    temporary.rename(target)
    return target
