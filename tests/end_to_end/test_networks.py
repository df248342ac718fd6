"""A worker whose network lets it down, while another process reaches the database as ever."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from conftest import MakeQueuer
from support.contract import Gate, ended
from support.proxy import Proxy

from queuer import DatabaseConfiguration, Queuer, StaticQueuer, new_static_queuer
from queuer.database import listener, liveness
from queuer.worker import claimer


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PATIENCE", 0.2)
    monkeypatch.setattr(liveness, "ANSWERS_WITHIN", 2)
    monkeypatch.setattr(listener, "QUIET", 0.2)
    monkeypatch.setattr(claimer, "POLL_INTERVAL", 3600)  # what it hears of is all that it learns


@pytest.fixture
def proxy(config: DatabaseConfiguration) -> Iterator[Proxy]:
    with closing(Proxy(config)) as proxy:
        yield proxy


@pytest.fixture
def outside(config: DatabaseConfiguration) -> Iterator[StaticQueuer]:
    outside = new_static_queuer(config)
    yield outside
    outside.stop()


@pytest.fixture
def worker(proxy: Proxy, make_queuer: MakeQueuer) -> Queuer:
    worker = make_queuer(on=proxy.config)
    worker.add_task_with_name(lambda: "done", "task")
    worker.start()
    return worker


def test_jobs_that_were_added_while_its_connections_were_half_open_are_run(
    proxy: Proxy, worker: Queuer, outside: StaticQueuer
) -> None:
    assert ended(outside, outside.add_job("task")).result == "done"
    proxy.forget()
    assert ended(outside, outside.add_job("task")).result == "done"


def test_jobs_that_were_added_while_its_connections_were_cut_are_run(
    proxy: Proxy, worker: Queuer, outside: StaticQueuer
) -> None:
    for _ in range(3):
        proxy.cut()
        assert ended(outside, outside.add_job("task")).result == "done"


@pytest.mark.parametrize("is_cut_in_the_end", [False, True])
def test_an_outcome_that_could_not_be_written_is_written_when_the_network_is_back(
    proxy: Proxy, worker: Queuer, outside: StaticQueuer, is_cut_in_the_end: bool
) -> None:
    gate = Gate()
    worker.add_task_with_name(gate, "gate")
    running = outside.add_job("gate")
    gate.wait_entered()
    proxy.swallow(True)
    gate.go_on.set()
    added = outside.add_job("task")
    assert outside.wait_for_job_finished(running.rid, timeout_seconds=1) is None
    if is_cut_in_the_end:
        proxy.cut()
    proxy.swallow(False)
    done = ended(outside, running)
    assert (done.result, done.attempts) == ("done", 1)
    assert ended(outside, added).result == "done"
