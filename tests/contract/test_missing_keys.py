"""Keys that a worker lacks, and values that their own key does not open."""

import logging
from datetime import timedelta

import pytest
from conftest import MakeQueuer
from sqlalchemy import Engine, text
from support.contract import ended, eventually, line, process
from support.keys import KEY, OTHER_KEY, SECRET, THIRD_KEY

from queuer import ConfigurationError, DatabaseConfiguration, JobStatus, Options, Schedule, new_static_queuer
from queuer.cipher import Cipher, read_keys

DAMAGED = (
    """UPDATE job SET {column} = to_jsonb(overlay({column} #>> '{{}}' PLACING 'AAAA' FROM 50 FOR 4)) WHERE rid = :rid"""
)


def key_id(key: str) -> str:
    return Cipher(read_keys(key, "key")).key_ids[0]


def change(engine: Engine, statement: str, **parameters: object) -> None:
    with engine.begin() as connection:
        assert connection.execute(text(statement), parameters).rowcount == 1


@pytest.mark.parametrize("key", ["", OTHER_KEY])
def test_a_worker_leaves_jobs_of_another_key_to_who_has_it_and_says_so_once(
    make_queuer: MakeQueuer, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    without, producer = make_queuer(key=key), make_queuer(key=KEY)
    without.add_task(str.upper)
    waiting = [producer.add_job("upper", SECRET) for _ in range(5)]
    own = [without.add_job("upper", "own") for _ in range(5)]
    with without, caplog.at_level(logging.WARNING):
        assert [ended(without, job).result for job in own] == ["OWN"] * 5
        ended(without, without.add_job("upper", "another"))
        assert {job.status for job in without.get_jobs()} == {JobStatus.QUEUED}
        eventually(lambda: without.get_jobs() and caplog.records)
        said = [record.getMessage() for record in caplog.records if "jobs wait" in record.getMessage()]
        assert len(said) == 1
        assert f"encrypted with the key '{key_id(KEY)}', which this worker does not have" in said[0]
        producer.add_task(str.upper)
        with producer:
            assert [ended(without, job).sealed for job in waiting] == [True] * 5
    assert [producer.get_job_ended(job.rid).result for job in waiting] == [SECRET.upper()] * 5


@pytest.mark.parametrize("column", ["parameters", "parameters_keyed"])
def test_a_damaged_value_fails_its_job_alone(make_queuer: MakeQueuer, engine: Engine, column: str) -> None:
    q = make_queuer(key=KEY)
    q.add_task(str.upper)
    damaged, sound = q.add_job("upper", SECRET), q.add_job("upper", "sound")
    change(engine, DAMAGED.format(column=column), rid=damaged.rid)
    assert q.get_job(damaged.rid).sealed
    with q:
        done = ended(q, damaged)
        assert ended(q, sound).result == "SOUND"
    assert done.status is JobStatus.FAILED
    assert done.error is not None
    assert done.error.startswith(f"DecryptionError: {column} of job {damaged.rid} can't be decrypted with its own key")
    assert key_id(KEY) in done.error
    assert getattr(done, column) is None
    assert done.attempts == 1


@pytest.mark.parametrize(
    "move",
    [
        "UPDATE job SET parameters = (SELECT parameters FROM job WHERE rid = :other) WHERE rid = :rid",
        "UPDATE job SET parameters = parameters_keyed WHERE rid = :rid AND rid <> :other",
        "UPDATE job SET parameters = '[\"forged\"]' WHERE rid = :rid AND rid <> :other",
    ],
)
def test_a_value_that_was_moved_or_replaced_fails_its_job(make_queuer: MakeQueuer, engine: Engine, move: str) -> None:
    q = make_queuer(key=KEY)
    q.add_task(str.upper)
    job, other = q.add_job("upper", SECRET), q.add_job("upper", "other")
    change(engine, move, rid=job.rid, other=other.rid)
    with q:
        done = ended(q, job)
        assert ended(q, other).result == "OTHER"
    assert done.error is not None
    assert done.error.startswith(f"DecryptionError: parameters of job {job.rid} ")


def test_a_series_survives_a_run_that_can_not_be_decrypted(make_queuer: MakeQueuer, engine: Engine) -> None:
    q = make_queuer(key=KEY)
    q.add_task(str.upper)
    schedule = Schedule(max_count=2, interval=timedelta(milliseconds=1))
    job = q.add_job_with_options(Options(schedule=schedule, metadata={"card": SECRET}), "upper", SECRET)
    change(engine, DAMAGED.format(column="parameters"), rid=job.rid)
    with q:
        runs = eventually(lambda: found if len(found := q.get_jobs_ended()) == 2 else None)
    assert [run.status for run in runs] == [JobStatus.FAILED] * 2


def test_damaged_results_do_not_disturb_who_looks(make_queuer: MakeQueuer, engine: Engine) -> None:
    q = make_queuer(key=KEY)
    q.add_task(str.upper)
    with q:
        job = ended(q, q.add_job("upper", SECRET))
    damage = DAMAGED.format(column="results").replace("UPDATE job", "UPDATE job_archive")
    change(engine, damage, rid=job.rid)
    found = q.get_job_ended(job.rid)
    assert (found.results, found.result, found.parameters, found.sealed) == (None, None, [SECRET], True)


def test_a_list_of_keys_decrypts_with_any_and_encrypts_with_the_first(make_queuer: MakeQueuer) -> None:
    old, new = make_queuer(key=KEY), make_queuer(key=f"{OTHER_KEY},{KEY}")
    new.add_task(str.upper)
    before, after = old.add_job("upper", "before"), new.add_job("upper", "after")
    with new:
        assert ended(new, before).result == "BEFORE"
        assert ended(new, after).result == "AFTER"
    assert (old.get_job_ended(before.rid).parameters, old.get_job_ended(before.rid).results) == (["before"], None)
    assert make_queuer(key=f"{THIRD_KEY},{OTHER_KEY}").get_job_ended(after.rid).result == "AFTER"


def test_processes_with_one_passphrase_understand_each_other(config: DatabaseConfiguration) -> None:
    body = """
q = new_queuer_with_db("other", 1, "open sesame", config)
q.add_task_with_name(lambda word: word.upper(), "upper")
q.start()
say("ready")
sys.stdin.read()
"""
    static = new_static_queuer(config, encryption_key="open sesame")
    with process(config, body) as child:
        assert line(child) == "ready"
        assert ended(static, static.add_job("upper", SECRET)).result == SECRET.upper()
    static.stop()


def test_a_lost_salt_is_told_when_a_passphrase_needs_it(make_queuer: MakeQueuer, engine: Engine) -> None:
    change(engine, "DELETE FROM master")
    with pytest.raises(ConfigurationError, match="the salt of passphrases was lost with the row of the table master"):
        make_queuer(key="open sesame")
    make_queuer(key=KEY)
