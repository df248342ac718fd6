"""examples/flask_app: over HTTP, against its own processes."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from support.contract import eventually
from support.servers import Databases
from support.web import Application, Site, terminated

from queuer import DatabaseConfiguration

pytestmark = pytest.mark.timeout(180)  # each starts several processes, on machines that may be busy


@pytest.fixture(scope="module")
def newsletter(databases: Databases, root: Path) -> Iterator[Application]:
    with databases.migrated() as config:
        yield application(root, databases.as_owner(config))


@pytest.fixture(scope="module")
def site(newsletter: Application) -> Iterator[Site]:
    """A web process, and a worker process next to it."""
    with newsletter.served() as site, newsletter.working():
        yield site


@pytest.fixture
def own_newsletter(empty_config: DatabaseConfiguration, root: Path) -> Application:
    """The application on a database that knows neither its tables nor the queue's."""
    return application(root, empty_config)


def application(root: Path, config: DatabaseConfiguration) -> Application:
    processes = ("--workers", "2", "--threads", "8", "--graceful-timeout", "1", "--no-control-socket")
    return Application(
        root / "examples" / "flask_app",
        web=("gunicorn", "newsletter:create_app()", "--bind", "fd://{socket}", *processes),
        worker=("flask", "--app", "newsletter", "worker"),
        config=config,
    )


def subscribe(site: Site) -> dict[str, str]:
    answer = site.client.post("/subscribers", data={"email": f"{uuid4()}@example.org"})
    assert answer.status_code == 201
    subscribed: dict[str, str] = answer.json()
    return subscribed


def test_a_subscriber_is_welcomed_by_the_worker_process(site: Site) -> None:
    subscribed = subscribe(site)
    *_, last = site.events(subscribed["job"])
    subscriber = site.client.get(f"/subscribers/{subscribed['id']}").json()
    outcome = {"status": "SUCCEEDED", "result": f"welcomed {subscriber['email']}", "error": None}
    assert last == ("ended", outcome)
    assert site.client.get(f"/jobs/{subscribed['job']}").json() == outcome
    assert subscriber["welcomed_at"] is not None


def test_the_stream_tells_the_status_first_and_also_of_a_job_that_has_ended(site: Site) -> None:
    job = subscribe(site)["job"]
    assert [name for name, _ in site.events(job)] == ["status", "ended"]
    (_, first), (_, last) = site.events(job)
    assert first == last


def test_a_request_that_fails_after_it_added_its_job_leaves_none(newsletter: Application, site: Site) -> None:
    twice = {"email": "twice@example.org"}
    assert site.client.post("/subscribers", data=twice).status_code == 201
    added = "SELECT last_value FROM job_id_seq"
    jobs = "SELECT id FROM job UNION SELECT id FROM job_archive"
    before, ids = newsletter.rows(added)[0][0], set(newsletter.rows(jobs))
    assert site.client.post("/subscribers", data=twice).status_code == 409
    assert newsletter.rows(added)[0][0] != before  # it was added
    assert set(newsletter.rows(jobs)) == ids  # and is gone


def test_what_nobody_knows_is_not_found(site: Site) -> None:
    assert site.client.get(f"/jobs/{uuid4()}").status_code == 404
    assert site.client.get(f"/jobs/{uuid4()}/events").status_code == 404
    assert site.client.get(f"/subscribers/{uuid4()}").status_code == 404
    assert site.client.post("/subscribers", data={}).status_code == 400


def test_jobs_wait_for_a_worker_and_outlast_the_web_process(own_newsletter: Application) -> None:
    with own_newsletter.served() as site:
        job = subscribe(site)["job"]
        stream = site.events(job)
        assert next(stream) == ("status", {"status": "QUEUED"})
        with own_newsletter.working() as worker:
            assert next(stream)[0] == "ended"
            assert terminated(worker) == 0
        waiting = subscribe(site)["job"]
        assert terminated(site.process) == 0
    assert [str(rid) for (rid,) in own_newsletter.rows("SELECT rid FROM job")] == [waiting]
    with own_newsletter.working():
        eventually(lambda: not own_newsletter.rows("SELECT rid FROM job"), timeout=30)


def test_two_web_processes_begin_at_once_and_know_each_others_jobs(own_newsletter: Application) -> None:
    with own_newsletter.served() as one, own_newsletter.served() as other, own_newsletter.working():
        jobs = [subscribe(site)["job"] for site in (one, other)]
        for site in (one, other):
            for job in jobs:
                *_, (_, outcome) = site.events(job)
                assert outcome["status"] == "SUCCEEDED"
