"""examples/fastapi_app: over HTTP, against its own processes."""

from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM
from uuid import uuid4

import httpx
import pytest
from support.contract import eventually
from support.servers import Databases
from support.web import Application, Site, terminated

from queuer import DatabaseConfiguration

pytestmark = pytest.mark.timeout(180)  # each starts several processes, on machines that may be busy

A_WHILE = 100_000  # so many take longer than the test


@pytest.fixture(scope="module")
def shop(databases: Databases, root: Path) -> Iterator[Application]:
    with databases.migrated() as config:
        yield application(root, databases.as_owner(config))


@pytest.fixture(scope="module")
def site(shop: Application) -> Iterator[Site]:
    with shop.served() as site:
        yield site


@pytest.fixture
def own_shop(empty_config: DatabaseConfiguration, root: Path) -> Application:
    """The application on a database that knows neither its tables nor the queue's."""
    return application(root, empty_config)


def application(root: Path, config: DatabaseConfiguration) -> Application:
    return Application(
        root / "examples" / "fastapi_app",
        web=("uvicorn", "shop.web:app", "--fd", "{socket}", "--timeout-graceful-shutdown", "1"),
        worker=("shop.worker",),
        config=config,
    )


def place(site: Site, reference: str | None = None, quantity: int = 1) -> dict[str, str]:
    order = {"reference": reference or str(uuid4()), "item": "tea", "quantity": quantity}
    placed: dict[str, str] = site.client.post("/orders", json=order).raise_for_status().json()
    return placed


def status(site: Site, job: str) -> str:
    return str(site.client.get(f"/jobs/{job}").raise_for_status().json()["status"])


def test_an_order_is_packed_in_the_background(site: Site) -> None:
    placed = place(site, quantity=3)
    *_, last = site.events(placed["job"])
    outcome = {"status": "SUCCEEDED", "result": "3 x tea", "error": None}
    assert last == ("ended", outcome)
    assert site.client.get(f"/jobs/{placed['job']}").json() == outcome
    assert site.client.get(f"/orders/{placed['id']}").json()["packed_at"] is not None


def test_the_stream_tells_the_status_first_and_also_of_a_job_that_has_ended(site: Site) -> None:
    job = place(site)["job"]
    assert [name for name, _ in site.events(job)] == ["status", "ended"]
    (_, first), (_, last) = site.events(job)
    assert first == last


def test_a_request_that_fails_after_it_added_its_job_leaves_none(shop: Application, site: Site) -> None:
    place(site, reference="twice")
    added = "SELECT last_value FROM job_id_seq"
    jobs = "SELECT id FROM job UNION SELECT id FROM job_archive"
    before, ids = shop.rows(added)[0][0], set(shop.rows(jobs))
    answer = site.client.post("/orders", json={"reference": "twice", "item": "tea"})
    assert (answer.status_code, answer.json()) == (409, {"detail": "'twice' has been ordered before"})
    assert shop.rows(added)[0][0] != before  # it was added
    assert set(shop.rows(jobs)) == ids  # and is gone


def test_what_nobody_knows_is_not_found(site: Site) -> None:
    assert site.client.get(f"/jobs/{uuid4()}").status_code == 404
    assert site.client.get(f"/jobs/{uuid4()}/events").status_code == 404
    assert site.client.get(f"/orders/{uuid4()}").status_code == 404
    assert site.client.post("/orders", json={"reference": "r", "item": "tea", "quantity": 0}).status_code == 422


def test_the_worker_starts_and_stops_with_the_web_process(own_shop: Application) -> None:
    with own_shop.served() as site:
        job = place(site, quantity=A_WHILE)["job"]
        eventually(lambda: status(site, job) == "RUNNING", timeout=30)
        stream = site.events(job)
        assert next(stream)[0] == "status"
        assert own_shop.rows("SELECT status FROM worker") == [("RUNNING",)]

        assert terminated(site.process) == -SIGTERM  # uvicorn's way, after all that the application does at the end
        with pytest.raises((httpx.HTTPError, StopIteration)):
            next(stream)
    assert own_shop.rows("SELECT status, attempts FROM job") == [("QUEUED", 1)]
    assert own_shop.rows("SELECT status FROM worker") == [("STOPPED",)]


def test_a_worker_process_runs_what_the_web_process_has_no_room_for(own_shop: Application) -> None:
    running = "SELECT rid FROM worker WHERE name = 'shop worker' AND status = 'RUNNING'"
    ended = (
        "SELECT job_archive.status FROM job_archive JOIN worker ON worker.rid = worker_rid WHERE name = 'shop worker'"
    )
    with own_shop.served() as site, own_shop.working() as worker:
        place(site)
        eventually(lambda: own_shop.rows(running), timeout=30)
        jobs = [place(site, quantity=100)["job"] for _ in range(3)]  # the web process runs two at most
        eventually(lambda: {status(site, job) for job in jobs}.isdisjoint({"QUEUED"}), timeout=30)
        assert terminated(worker) == 0
        assert set(own_shop.rows(ended)) == {("SUCCEEDED",)}


def test_two_web_processes_begin_at_once_and_know_each_others_jobs(own_shop: Application) -> None:
    with own_shop.served() as one, own_shop.served() as other:
        jobs = [place(site)["job"] for site in (one, other)]
        for site in (one, other):
            for job in jobs:
                *_, (_, outcome) = site.events(job)
                assert outcome["status"] == "SUCCEEDED"
