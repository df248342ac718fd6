"""The web process."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

from flask import Blueprint, Response, abort, request
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from newsletter.database import Subscriber, db
from newsletter.queue import current_queue
from newsletter.tasks import welcome
from queuer import Job, JobArchive, StaticQueuer

pages = Blueprint("newsletter", __name__)


# -- Subscribers


@pages.post("/subscribers")
def subscribe() -> tuple[dict[str, Any], int]:
    """The subscriber and their job: one transaction, so both are there, or neither is."""
    email = request.form["email"]
    subscriber = Subscriber(id=uuid4(), email=email)
    db.session.add(subscriber)
    job = current_queue().in_session(db.session).add_job(welcome, subscriber.id)
    try:
        db.session.commit()
    except IntegrityError:  # the subscriber is refused at the commit, and the job goes with them
        abort(409, f"{email} has subscribed before")
    return {"id": subscriber.id, "job": job.rid}, 201


@pages.get("/subscribers/<uuid:id>")
def show_subscriber(id: UUID) -> dict[str, Any]:
    subscriber = db.get_or_404(Subscriber, id)
    return {"id": id, "email": subscriber.email, "welcomed_at": subscriber.welcomed_at}


# -- Their jobs


def find_job(rid: UUID) -> Job | JobArchive:
    """A job that the path names. When it ends it moves from the one table to the other; hence the order."""
    job = db.session.scalar(select(Job).where(Job.rid == rid))
    return job or db.session.scalar(select(JobArchive).where(JobArchive.rid == rid)) or abort(404)


def outcome_of(job: Job | JobArchive) -> dict[str, Any]:
    if isinstance(job, JobArchive):
        return {"status": job.status, "result": job.result, "error": job.error}
    return {"status": job.status}


@pages.get("/jobs/<uuid:rid>")
def show_job(rid: UUID) -> dict[str, Any]:
    """What has become of a job so far."""
    return outcome_of(find_job(rid))


@pages.get("/jobs/<uuid:rid>/events")
def stream_job(rid: UUID) -> Response:
    """Streams its status now, and its outcome as soon as it has ended. Holds a thread, but no connection."""
    return Response(
        events(current_queue(), outcome_of(find_job(rid)), rid),
        mimetype="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


def events(waiting: StaticQueuer, now: dict[str, Any], rid: UUID) -> Iterator[str]:
    yield event("status", now)
    while (ended := waiting.wait_for_job_finished(rid, timeout_seconds=15)) is None:
        yield ": not yet\n\n"  # keeps proxies from hanging up, and finds out whether the browser has
    yield event("ended", outcome_of(ended))


def event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
