"""Trials from their start to their end: what changes in the registry, in the job's folder and in the audit log."""

from dataclasses import dataclass
from pathlib import Path

from models.artifact.artifact import Artifact
from models.gate.held_out import HeldOut, compare_held_out, unsound
from models.gate.judge import Judgement, judge_shadow
from models.gate.plan import GatePlan
from models.gate.shadow_day import days_of, judged_hours
from models.gate.trial import Trial, read_trial, trial_path, write_trial
from models.model_registry.contract import ModelRegistry
from models.model_registry.copying import verified
from models.model_registry.lifecycle import Note, promote, retire
from models.model_registry.sync import sync
from models.training.replay import IncidentHistory
from schemas.errors import GateClosed, RegistryError
from schemas.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where a region's versions are kept and served."""

    registry: ModelRegistry
    artifacts: Path
    note: Note


def registered_artifact(desk: Desk, region: str, version: str, scratch: Path) -> Artifact:
    """A registered version, verified in the empty folder `scratch`. Raises ArtifactError."""
    state = desk.registry.state(region)
    if version not in state.manifests:
        raise RegistryError(f"{region} has no version {version}", "register it: `python -m models registry register`")
    folder = scratch / version
    folder.mkdir(parents=True)
    desk.registry.fetch(region, version, folder)
    return verified(folder, state.manifests[version])


def start_trial(
    desk: Desk, champion: Artifact, challenger: Artifact, past: IncidentHistory, plan: tuple[GatePlan, str], now_s: int
) -> tuple[Trial, HeldOut]:
    """Compare both on the held-out span and, if nothing speaks against it, start the trial.

    plan: with the sha256 of its file, which is on record before the job scores the challenger. Raises GateClosed when
    a trial is running, or the challenger may not be tried.
    """
    rules, digest = plan
    region = champion.spec.region
    if (running := read_trial(desk.artifacts, region)) is not None:
        raise GateClosed(f"{region} has a trial of {running.challenger}", "end it first: `python -m models gate end`")
    if faults := unsound(champion, challenger):
        raise GateClosed(f"{challenger.version} cannot be tried: {'; '.join(faults)}", "train another challenger")
    held_out = compare_held_out(champion, challenger, past, rules)
    if held_out.faults:
        faults = held_out.faults
        raise GateClosed(f"{challenger.version} is not tried: {'; '.join(faults)}", "train another challenger")
    trial = Trial(
        champion=champion.version,
        challenger=challenger.version,
        plan=rules,
        plan_sha256=digest,
        margin=held_out.margin,
        started_s=now_s,
    )
    begin(desk, region, trial, held_out_days=held_out.days)
    return trial, held_out


def begin(desk: Desk, region: str, trial: Trial, *, held_out_days: int) -> None:
    """Put a trial on record and into force. Asks nothing: `start_trial` does."""
    facts = {"region": region, "champion": trial.champion, "challenger": trial.challenger}
    facts |= {"plan_sha256": trial.plan_sha256}
    desk.note("trial_started", {**facts, "margin": trial.margin, "held_out_days": held_out_days})
    promote(desk.registry, region, trial.challenger, "challenger", desk.note)
    sync(desk.registry, desk.artifacts, region, desk.note)
    write_trial(desk.artifacts, region, trial)  # last: after a kill before it the next call starts a trial anew


def judge_trial(trial: Trial, spec: Spec, checkpoint: Path) -> Judgement:
    """What the job's judged hours say so far."""
    days = days_of(
        judged_hours(checkpoint, spec, trial.challenger), spec, champion=trial.champion, challenger=trial.challenger
    )
    return judge_shadow(days, trial.plan, margin=trial.margin)


def end_trial(desk: Desk, region: str, trial: Trial, found: Judgement, *, is_confirmed: bool) -> str:
    """Do what the judgement says, and give it in words: promote the challenger, or retire it.

    Raises GateClosed while the trial goes on, and for a promotion that neither a person nor the plan has confirmed.
    """
    if (champion := desk.registry.state(region).champion) not in (trial.champion, trial.challenger):
        desk.note("trial_ended", {"region": region, "challenger": trial.challenger, "decision": "void"})
        trial_path(desk.artifacts, region).unlink(missing_ok=True)
        fault = (
            f"the trial of {trial.challenger} is void: {champion} scores now, and it was compared with {trial.champion}"
        )
        raise GateClosed(fault, "start another trial")
    if found.decision == "go on":
        raise GateClosed(f"the trial of {trial.challenger} goes on: {found.because}", "ask again tomorrow")
    if found.decision == "promote" and not (is_confirmed or trial.plan.auto):
        raise GateClosed(f"{trial.challenger} may be promoted: {found.because}", "confirm it with --confirm")
    facts = {"region": region, "challenger": trial.challenger, "decision": found.decision, "reason": found.because}
    desk.note("trial_ended", {**facts, "days": found.days, "difference": found.difference, "high": found.high})
    if found.decision == "promote":
        promote(desk.registry, region, trial.challenger, "champion", desk.note)
    else:
        retire(desk.registry, region, trial.challenger, desk.note)
    sync(desk.registry, desk.artifacts, region, desk.note)
    trial_path(desk.artifacts, region).unlink(missing_ok=True)
    return found.decision
