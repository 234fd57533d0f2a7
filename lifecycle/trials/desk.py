"""Trials from their start to their end: what changes in the registry, in the job's folder and in the audit log."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lifecycle.gate.held_out import HeldOut, compare_held_out, unsound
from lifecycle.gate.judge import Judgement, promoted_already
from lifecycle.gate.plan import GatePlan
from lifecycle.gate.trial import Trial, alone, end_on_record, refuse_another, write_trial
from lifecycle.registry.changes import Note, promote, retire
from lifecycle.registry.contract import ModelRegistry
from lifecycle.registry.sync import sync
from models.artifact.artifact import Artifact
from models.training.replay import IncidentHistory
from schemas.errors import GateClosed


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where a region's versions are kept and served."""

    registry: ModelRegistry
    artifacts: Path
    note: Note


def start_trial(
    desk: Desk,
    champion: Artifact,
    challenger: Artifact,
    past: IncidentHistory,
    plan: tuple[GatePlan, str],
    clock: Callable[[], float],
) -> tuple[Trial, HeldOut]:
    """Compare both on the held-out span and, if nothing speaks against it, start the trial.

    It begins after the comparison, which may take minutes: the job cannot have scored the challenger before.

    clock: epoch seconds. plan: with the sha256 of its file, which is on record before the job scores the challenger.
    Raises GateClosed when a trial is running, the plan's number of trials is used up, or the challenger may not be
    tried.
    """
    rules, digest = plan
    region = champion.spec.region
    refuse_another(desk.artifacts, region, rules, int(clock()))
    if faults := unsound(champion, challenger):
        raise GateClosed(f"{challenger.version} cannot be tried: {'; '.join(faults)}", "train another challenger")
    held_out = compare_held_out(champion, challenger, past, rules)
    if held_out.faults:
        faults = held_out.faults
        raise GateClosed(f"{challenger.version} is not tried: {'; '.join(faults)}", "train another challenger")
    with alone(desk.artifacts, region):
        trial = Trial(
            champion=champion.version,
            challenger=challenger.version,
            plan=rules,
            plan_sha256=digest,
            margin=held_out.margin,
            started_s=int(clock()),
            remarks=held_out.remarks,
        )
        refuse_another(desk.artifacts, region, rules, trial.started_s)
        begin(desk, region, trial, held_out_days=held_out.days)
    return trial, held_out


def begin(desk: Desk, region: str, trial: Trial, *, held_out_days: int) -> None:
    """Put a trial on record and into force. Asks nothing: `start_trial` does.

    Raises ArtifactError when the challenger cannot be brought to the job: then there is no trial.
    """
    facts = {"region": region, "champion": trial.champion, "challenger": trial.challenger}
    facts |= {"plan_sha256": trial.plan_sha256}
    facts |= {"remarks": "; ".join(trial.remarks)}
    desk.note("trial_started", {**facts, "margin": trial.margin, "held_out_days": held_out_days})
    promote(desk.registry, region, trial.challenger, "challenger", desk.note)
    if fault := sync(desk.registry, desk.artifacts, region, desk.note).fault:
        raise fault
    write_trial(desk.artifacts, region, trial)  # last: after a kill before it the next call starts a trial anew


def end_trial(desk: Desk, region: str, trial: Trial, judgement: Judgement, *, is_confirmed: bool) -> Judgement:
    """Do what the judgement says: promote the challenger, or retire it. Gives the judgement that was carried out.

    Of a challenger that is the champion already, only the trial ends. Raises GateClosed while the trial goes on, and
    for a promotion that neither a person nor the plan has confirmed.
    """
    if (champion := desk.registry.state(region).champion) not in (trial.champion, trial.challenger):
        desk.note("trial_ended", {"region": region, "challenger": trial.challenger, "decision": "void"})
        end_on_record(desk.artifacts, region, trial, "void")
        fault = (
            f"the trial of {trial.challenger} is void: {champion} scores now, and it was compared with {trial.champion}"
        )
        raise GateClosed(fault, "start another trial")
    if champion == trial.challenger:
        judgement = promoted_already(judgement)
    elif judgement.decision == "go on":
        raise GateClosed(f"the trial of {trial.challenger} goes on: {judgement.because}", "ask again tomorrow")
    elif judgement.decision == "promote" and not (is_confirmed or trial.plan.auto):
        raise GateClosed(f"{trial.challenger} may be promoted: {judgement.because}", "confirm it with --confirm")
    facts = {
        "region": region,
        "challenger": trial.challenger,
        "decision": judgement.decision,
        "reason": judgement.because,
    }
    figures = {"days": judgement.days, "failed_hours": sum(judgement.failed.values())}
    desk.note("trial_ended", {**facts, **figures, "difference": judgement.difference, "high": judgement.high})
    _close(desk, region, trial, judgement.decision)
    return judgement


def abandon_trial(desk: Desk, region: str, trial: Trial) -> None:
    """End a trial without a judgement: the challenger is retired. Raises GateClosed when it was promoted already."""
    if desk.registry.state(region).champion == trial.challenger:
        raise GateClosed(f"{trial.challenger} is the champion already", "end its trial without --abandon")
    desk.note("trial_ended", {"region": region, "challenger": trial.challenger, "decision": "abandoned"})
    _close(desk, region, trial, "abandoned")


def _close(desk: Desk, region: str, trial: Trial, decision: str) -> None:
    if decision == "promote":
        promote(desk.registry, region, trial.challenger, "champion", desk.note)
    else:
        retire(desk.registry, region, trial.challenger, desk.note)
    sync(desk.registry, desk.artifacts, region, desk.note)
    end_on_record(desk.artifacts, region, trial, decision)
