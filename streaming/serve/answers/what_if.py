"""The route of the one question that is answered by computing: what if these incidents had happened?"""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException
from starlette.responses import Response

from schemas.errors import ArtifactError, DataError, SinkError
from schemas.spec import Spec
from streaming.disk.frame_file import StoredFrames
from streaming.serve.answers import contract
from streaming.serve.answers.scores import chosen_view
from streaming.serve.answers.written import MEDIA_TYPES, SCORED, Chosen, as_changes
from streaming.serve.recompute import Answer, Recompute, Supposed
from streaming.serve.service import Now, TheRegion, TheService, must_be_current

MOST_WAITING = 8  # questions of a process
COMPUTED = (
    "Not published: computed by this service, with the artifact and the counts of the published frame. The events are "
    "counted as the job would count them if it learned of them at as_of."
)
router = APIRouter(prefix="/v1", tags=["scores"])


@router.post("/regions/{region}/what-if", response_model=contract.WhatIf)
async def what_if(
    service: TheService, now: TheRegion, supposition: contract.Supposition, asked: Annotated[contract.View, Query()]
) -> Response:
    """The scores if some more incidents had happened, of every cell whose scores they change. Nothing is stored."""
    must_be_current(now, asked.require)
    view, category, horizon = chosen_view(now, asked.category, asked.horizon)
    found = await _computed(service.recompute, now.frames, list(_supposed(now, supposition)))
    sides = [views[1 if view.is_sum else 0] for views in (found.before, found.after)]
    everywhere = np.arange(view.spec.grid.cells, dtype=np.int32)
    before, after = (Chosen(side, category, horizon, everywhere) for side in sides)
    differs = np.any([before.values(name) != after.values(name) for name in SCORED], axis=0)
    before, after = (Chosen(side, category, horizon, everywhere[differs]) for side in sides)
    head = {
        **now.facts(),
        "category": view.categories[category],
        "horizon": view.spec.horizon_names[horizon],
        "events": len(supposition.events),
        "reproduces": found.reproduces,
        "computed": COMPUTED,
    }
    return Response(as_changes(head, before, after), headers=now.headers(), media_type=MEDIA_TYPES["json"])


async def _computed(recompute: Recompute, frames: StoredFrames, supposed: list[Supposed]) -> Answer:
    if recompute.waiting >= MOST_WAITING:
        raise HTTPException(503, f"{MOST_WAITING} such questions are waiting; ask again", {"Retry-After": "2"})
    recompute.waiting += 1
    try:
        return await asyncio.to_thread(recompute.what_if, frames, supposed)
    except DataError as error:
        raise HTTPException(422, str(error)) from error
    except (SinkError, ArtifactError) as error:
        raise HTTPException(503, str(error)) from error
    finally:
        recompute.waiting -= 1


def _supposed(now: Now, supposition: contract.Supposition) -> Iterator[Supposed]:
    frame = now.frames.by_category
    spec = frame.spec
    for number, event in enumerate(supposition.events):
        if event.category not in spec.categories:
            said = f"event {number}: no category {event.category!r} in {spec.region}: {', '.join(spec.categories)}"
            raise HTTPException(422, said)
        occurred_s = frame.as_of_s
        if event.occurred_at is not None:
            try:
                occurred_s = int(datetime.fromisoformat(event.occurred_at).timestamp())
            except ValueError as error:
                raise HTTPException(422, f"event {number}: {event.occurred_at} is no time") from error
        yield Supposed(spec.categories.index(event.category), _cell(number, event, spec), occurred_s)


def _cell(number: int, event: contract.EventInCell | contract.EventAtPlace, spec: Spec) -> int:
    if isinstance(event, contract.EventInCell):
        try:
            return spec.grid.index_of(event.cell)
        except DataError as error:
            raise HTTPException(422, f"event {number}: {error}") from error
    (cell,), (is_inside,) = spec.grid.locate(np.array([event.lat]), np.array([event.lon]))
    if not is_inside:
        raise HTTPException(422, f"event {number}: {event.lon}, {event.lat} lies outside of {spec.region}'s grid")
    return int(cell)
