"""Changing the key, and encrypting a queue that was not, while it is used."""

import threading
from datetime import timedelta
from uuid import UUID

import pytest
from conftest import MakeQueuer
from sqlalchemy import Engine, insert, text
from sqlalchemy.orm import Session
from support.contract import Gate, ended, eventually
from support.keys import KEY, OTHER_KEY, SECRET, THIRD_KEY, everything

from queuer import (
    BatchJob,
    ConfigurationError,
    DatabaseConfiguration,
    Job,
    OnError,
    Options,
    Queuer,
    Rotation,
    Schedule,
    rotate_encryption,
)

pytestmark = pytest.mark.owner  # rotating is for the owner

METADATA = Options(metadata={"card": SECRET})


def fill(q: Queuer) -> None:
    """Jobs in every state and with every field."""

    @q.task
    def fail(word: str) -> None:
        raise ValueError(word)

    q.add_task(str.upper)
    with q:
        ended(q, q.add_job_with_options(METADATA, "upper", SECRET))
        ended(q, q.add_job_with_options(Options(on_error=OnError(max_retries=1, retry_delay=0)), fail, SECRET))
        waiting = q.add_job_with_options(Options(on_error=OnError(max_retries=1, retry_delay=600)), fail, SECRET)
        eventually(lambda: q.get_job(waiting.rid).failures)
    q.cancel_job(q.add_job("upper", SECRET).rid)
    q.add_jobs(BatchJob("upper", [SECRET], options=METADATA) for _ in range(3))
    schedule = Schedule(max_count=2, interval=timedelta(milliseconds=1))
    q.add_job_with_options(Options(schedule=schedule, metadata={"card": SECRET}), "upper", SECRET)


def readable(q: Queuer) -> list[object]:
    found = [*q.get_jobs(), *q.get_jobs_ended()]
    assert not any(job.sealed for job in found)
    names = ("rid", "parameters", "parameters_keyed", "failures", "results", "error")
    return [(job.options.metadata, *(getattr(job, name, None) for name in names)) for job in found]


def test_a_job_of_another_program_with_a_rid_of_zeros_is_not_forgotten(
    make_queuer: MakeQueuer, config: DatabaseConfiguration, engine: Engine
) -> None:
    nothing = UUID(int=0)
    with Session(engine) as session, session.begin():
        session.execute(insert(Job).values(rid=nothing, task_name="elsewhere", parameters=[SECRET]))
    assert rotate_encryption(KEY, config) == Rotation(changed=1, left=0, unreadable=0)
    assert make_queuer(key=KEY).get_job(nothing).parameters == [SECRET]


@pytest.mark.parametrize("before", ["", KEY, "open sesame"])
def test_all_jobs_get_the_new_key(
    make_queuer: MakeQueuer, config: DatabaseConfiguration, engine: Engine, before: str
) -> None:
    old = make_queuer(key=before)
    fill(old)
    known = readable(old)
    said: list[Rotation] = []
    keys = f"{OTHER_KEY},{before}".rstrip(",")
    done = rotate_encryption(keys, config, batch_size=3, progress=said.append)
    assert done == Rotation(changed=8, left=0, unreadable=0)
    assert said[0] == Rotation(changed=0, left=8, unreadable=0)
    assert said[-1] == done
    assert len({state.changed for state in said}) == len(said) - 1  # after each batch, and at the end
    assert SECRET not in everything(engine)
    new = make_queuer(key=OTHER_KEY)
    assert readable(new) == known
    assert rotate_encryption(OTHER_KEY, config) == Rotation()
    new.add_task(str.upper)
    with new:
        eventually(lambda: len(new.get_jobs()) == 1)  # the retry, far in the future
    assert {job.result for job in new.get_jobs_ended()} == {SECRET.upper(), None}


def test_it_goes_on_where_it_was_stopped(make_queuer: MakeQueuer, config: DatabaseConfiguration) -> None:
    fill(make_queuer(key=KEY))

    def stop(state: Rotation) -> None:
        if state.changed == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        rotate_encryption(f"{OTHER_KEY},{KEY}", config, batch_size=1, progress=stop)
    assert rotate_encryption(f"{OTHER_KEY},{KEY}", config) == Rotation(changed=6)
    readable(make_queuer(key=OTHER_KEY))


def test_what_no_key_opens_is_left_alone_and_counted(
    make_queuer: MakeQueuer, config: DatabaseConfiguration, engine: Engine
) -> None:
    fill(make_queuer(key=KEY))
    before = everything(engine)
    assert rotate_encryption(f"{OTHER_KEY},{THIRD_KEY}", config, batch_size=2) == Rotation(unreadable=8)
    assert everything(engine) == before


def test_a_clear_value_among_sealed_ones_is_not_made_genuine(
    make_queuer: MakeQueuer, config: DatabaseConfiguration, engine: Engine
) -> None:
    q = make_queuer(key=KEY)
    rid = q.add_job("upper", SECRET).rid
    with engine.begin() as connection:
        connection.exec_driver_sql("""UPDATE job SET parameters = '["forged"]'""")
    assert rotate_encryption(f"{OTHER_KEY},{KEY}", config) == Rotation(unreadable=1)
    assert q.get_job(rid).parameters == ["forged"]


def test_a_row_that_somebody_locks_is_waited_for(
    make_queuer: MakeQueuer, config: DatabaseConfiguration, engine: Engine
) -> None:
    fill(make_queuer())
    is_passed_over = threading.Event()
    done: list[Rotation] = []

    def watch(state: Rotation) -> None:
        if state.changed == 4:  # of the five live ones
            is_passed_over.set()

    with Session(engine) as session:
        session.execute(text("SELECT FROM job WHERE status = 'QUEUED' ORDER BY id LIMIT 1 FOR UPDATE"))
        rotating = threading.Thread(target=lambda: done.append(rotate_encryption(KEY, config, progress=watch)))
        rotating.start()
        assert is_passed_over.wait(10)
    rotating.join(10)
    assert done == [Rotation(changed=8)]


def test_jobs_that_run_and_are_added_meanwhile_come_through(
    make_queuer: MakeQueuer, config: DatabaseConfiguration, engine: Engine
) -> None:
    q, gate = make_queuer(key=f"{OTHER_KEY},{KEY}", max_concurrency=8), Gate()
    q.add_task(str.upper)
    q.add_task_with_name(lambda _word: gate(), "gate")
    old = make_queuer(key=KEY)
    old.add_jobs(BatchJob("upper", [f"{SECRET} {n}"]) for n in range(500))
    running = old.add_job("gate", SECRET)
    with q:
        gate.wait_entered()
        rids = q.add_jobs(BatchJob("upper", [f"{SECRET} {n}"]) for n in range(500))
        done = rotate_encryption(f"{OTHER_KEY},{KEY}", config, batch_size=7)
        assert done.unreadable == 0
        gate.go_on.set()
        assert ended(q, running).result == "done"
        for number, rid in enumerate(rids):
            found = q.wait_for_job_finished(rid, 20)
            assert found is not None
            assert found.result == f"{SECRET.upper()} {number}"
    assert rotate_encryption(f"{OTHER_KEY},{KEY}", config).unreadable == 0
    assert len(readable(make_queuer(key=OTHER_KEY))) == 100
    assert SECRET not in everything(engine)


def test_a_key_is_needed(config: DatabaseConfiguration) -> None:
    with pytest.raises(
        ConfigurationError, match="there is no key to encrypt with; pass encryption_key, or set QUEUER_"
    ):
        rotate_encryption("", config)
    with pytest.raises(ConfigurationError, match="there is no key to encrypt with"):
        rotate_encryption(db_config=config)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "3"])
def test_a_batch_has_a_job_at_least(config: DatabaseConfiguration, batch_size: object) -> None:
    with pytest.raises(ValueError, match="batch_size is .*; allowed is a whole number, 1 or more"):
        rotate_encryption(KEY, config, batch_size=batch_size)
