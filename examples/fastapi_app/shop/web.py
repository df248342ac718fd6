"""The web process:  uvicorn shop.web:app"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from math import inf
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from queuer import Job, JobArchive, Queuer, new_queuer_with_engine
from shop.database import Session, create_tables, engine, new_session
from shop.models import Order
from shop.tasks import ON_ERROR, pack


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """A worker lives as long as the web process. Calls that block have a thread, so the event loop goes on."""
    await create_tables()
    queue = await asyncio.to_thread(new_queuer_with_engine, "shop web", 2, engine, ON_ERROR)
    await asyncio.to_thread(queue.start)  # without this line, the jobs are left to shop.worker
    app.state.queue = queue
    yield
    await asyncio.to_thread(queue.stop, timeout=5)  # jobs that have not ended by then are queued again
    await engine.dispose()


app = FastAPI(title="Shop", lifespan=lifespan)


def queue_of(request: Request) -> Queuer:
    queue: Queuer = request.app.state.queue
    return queue


Queue = Annotated[Queuer, Depends(queue_of)]


# -- Orders


class NewOrder(BaseModel):
    reference: str = Field(min_length=1)
    item: str = Field(min_length=1)
    quantity: int = Field(default=1, ge=1)


class PlacedOrder(BaseModel):
    id: UUID
    job: UUID


class OrderState(BaseModel, from_attributes=True):
    id: UUID
    reference: str
    packed_at: datetime | None


@app.post("/orders", status_code=201)
async def place_order(new: NewOrder, session: Session, queue: Queue) -> PlacedOrder:
    """The order and its job: one transaction, so both are there, or neither is."""
    order = Order(id=uuid4(), **new.model_dump())
    try:
        async with session.begin():
            session.add(order)
            job = await queue.in_session(session).add_job(pack, order.id)
    except IntegrityError:  # the order is refused at the commit, when the job has been added: it goes with the order
        raise HTTPException(409, f"{new.reference!r} has been ordered before") from None
    return PlacedOrder(id=order.id, job=job.rid)


@app.get("/orders/{id}")
async def show_order(id: UUID, session: Session) -> OrderState:
    order = await session.get(Order, id)
    if order is None:
        raise HTTPException(404, f"there is no order {id}")
    return OrderState.model_validate(order)


# -- Their jobs


class Outcome(BaseModel):
    status: str
    result: str | None = None
    error: str | None = None


async def find_job(rid: UUID) -> Job | JobArchive:
    """The job that the path names. When it ends it moves from the one table to the other; hence the order."""
    async with new_session() as session:
        job = await session.scalar(select(Job).where(Job.rid == rid))
        ended = job or await session.scalar(select(JobArchive).where(JobArchive.rid == rid))
    if ended is None:
        raise HTTPException(404, f"there is no job {rid}")
    return ended


FoundJob = Annotated[Job | JobArchive, Depends(find_job)]


def outcome_of(job: Job | JobArchive) -> Outcome:
    if isinstance(job, JobArchive):
        return Outcome(status=job.status, result=job.result, error=job.error)
    return Outcome(status=job.status)


@app.get("/jobs/{rid}")
async def show_job(job: FoundJob) -> Outcome:
    """What has become of a job so far."""
    return outcome_of(job)


@app.get("/jobs/{rid}/events", response_class=EventSourceResponse)
async def stream_job(job: FoundJob, queue: Queue) -> AsyncIterator[ServerSentEvent]:
    """Its status now, and its outcome as soon as it has ended. Waiting holds neither a thread nor a connection."""
    yield ServerSentEvent(event="status", data=outcome_of(job))
    ended = await queue.wait_for_job_finished_async(job.rid, timeout_seconds=inf)
    if ended is not None:  # else this process stops, and the browser asks another one
        yield ServerSentEvent(event="ended", data=outcome_of(ended))
