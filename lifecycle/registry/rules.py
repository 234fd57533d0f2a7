"""Which change of roles is allowed: a state in, the next state out. An unchanged state means that it is so already."""

from typing import Literal

from msgspec.structs import replace

from schemas.errors import RegistryError
from schemas.left_behind.region_state import RegionState

Role = Literal["champion", "challenger"]
_MOST_BEFORE = 50  # earlier champions that are remembered


def registered(state: RegionState, version: str, digest: str) -> RegionState:
    """With this version. Raises RegistryError when another content is registered under it."""
    before = state.manifests.get(version)
    if before not in (None, digest):
        raise RegistryError(
            f"version {version} is registered with the manifest {before}, and this one is {digest}",
            "register the folder as training wrote it; a version never changes",
        )
    return state if before else replace(state, manifests={**state.manifests, version: digest})


def promoted(state: RegionState, version: str, role: Role) -> RegionState:
    """With `version` as champion or challenger. Raises RegistryError."""
    _refuse_unknown(state, version)
    if version in state.retired:
        raise RegistryError(f"version {version} is retired", "promote another one, or train again")
    if version == state.champion:
        if role == "champion":
            return state
        raise RegistryError(f"version {version} is the champion", "promote another one as challenger")
    if role == "challenger":
        return replace(state, challenger=version)
    before = (*state.before, state.champion) if state.champion else ()
    return consistent(replace(state, champion=version, before=before[-_MOST_BEFORE:]))


def rolled_back(state: RegionState) -> RegionState:
    """With the champion before, the newest one that is not retired. Raises RegistryError when there is none."""
    usable = [
        number
        for number, version in enumerate(state.before)
        if version in state.manifests and version not in state.retired
    ]
    if not usable:
        raise RegistryError("no champion came before this one", "promote a version by its name")
    champion = state.before[usable[-1]]
    return consistent(replace(state, champion=champion, before=state.before[: usable[-1]]))


def retired(state: RegionState, version: str) -> RegionState:
    """Without a role for this version, now and later. Raises RegistryError."""
    _refuse_unknown(state, version)
    if version == state.champion:
        raise RegistryError(f"version {version} is the champion", "promote another version first, or roll back")
    if version in state.retired:
        return state
    return consistent(replace(state, retired=(*state.retired, version)))


def consistent(state: RegionState) -> RegionState:
    """Without what an interrupted change leaves behind, where a registry cannot change all at once."""
    before = state.before
    while before and before[-1] == state.champion:
        before = before[:-1]
    is_free = state.challenger not in (state.champion, *state.retired)
    return replace(state, before=before, challenger=state.challenger if is_free else None)


def _refuse_unknown(state: RegionState, version: str) -> None:
    if version not in state.manifests:
        newest = ", ".join(sorted(state.manifests)[-5:]) or "none"
        raise RegistryError(f"version {version} is not registered; the newest are {newest}", "register its folder")
