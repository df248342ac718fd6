"""The roles of docs/security.md: each can do its work, and nothing else."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy.orm import Session
from support import roles
from support.applications import engine_of
from support.contract import ended
from support.keys import KEY, SECRET
from support.servers import Databases, connected

from queuer import (
    BatchJob,
    DatabaseConfiguration,
    NotPermitted,
    Rotation,
    new_queuer_with_db,
    new_static_queuer,
    rotate_encryption,
)


@pytest.fixture(params=["jobs", 'weird"schema; --'])
def config(request: pytest.FixtureRequest, databases: Databases) -> Iterator[DatabaseConfiguration]:
    """A database whose queue is the owner's, with all roles."""
    with databases.empty() as empty:
        found = replace(empty, schema=request.param)
        with connected(empty) as admin:
            roles.create(admin, found.schema)
        owner = roles.as_role(found, "owner")
        new_static_queuer(owner, encryption_key=KEY).stop()  # migrates
        with connected(owner) as connection:
            roles.grant(connection, owner.schema)
        yield found


def denied(config: DatabaseConfiguration, role: str, statement: str) -> bool:
    """Whether the role may not do that."""
    user = roles.as_role(config, role)
    table = psycopg.sql.Identifier(user.schema)
    with connected(user) as connection:
        try:
            connection.execute(psycopg.sql.SQL(statement).format(table))
        except psycopg.errors.InsufficientPrivilege:
            return True
    return False


def test_a_worker_runs_jobs_and_is_master(config: DatabaseConfiguration) -> None:
    with new_queuer_with_db("worker", 2, KEY, roles.as_role(config, "worker")) as q:
        q.add_task(str.upper)
        done = ended(q, q.add_job("upper", SECRET))
        assert done.result == SECRET.upper()
        ended(q, q.readd_job_from_archive(done.rid))
        q.delete_job(done.rid)
        q.add_jobs(BatchJob("upper", [str(n)]) for n in range(3))
        assert q.get_master().worker_rid in (q.get_current_worker_rid(), None)
        assert q.get_connections()


def test_a_producer_adds_jobs_and_sees_none(config: DatabaseConfiguration) -> None:
    producer = new_static_queuer(roles.as_role(config, "producer"), encryption_key="open sesame")
    jobs = [producer.add_job("upper", SECRET), producer.add_job("upper", SECRET)]
    jobs.append(asyncio.run(producer.add_job_async("upper", SECRET)))
    rids = [job.rid for job in jobs] + producer.add_jobs([BatchJob("upper", [SECRET])])
    application = engine_of(roles.as_role(config, "producer"))
    with Session(application) as session, session.begin():
        rids += producer.in_session(session).add_jobs([BatchJob("upper", [SECRET])])
    application.dispose()
    assert [(job.id, job.parameters, job.sealed) for job in jobs] == [(None, [SECRET], False)] * 3
    for look in (producer.get_jobs, producer.get_jobs_ended, producer.get_workers, producer.get_master):
        with pytest.raises(NotPermitted, match="user 'queuer_test_producer' may not do this: permission denied"):
            look()
    producer.stop()
    with new_queuer_with_db("worker", 2, "open sesame", roles.as_role(config, "worker")) as q:
        q.add_task(str.upper)
        for rid in rids:
            found = q.wait_for_job_finished(rid, 10)
            assert found is not None
            assert found.result == SECRET.upper()


def test_a_producer_may_do_nothing_else(config: DatabaseConfiguration) -> None:
    assert not denied(config, "producer", "INSERT INTO {}.job (task_name) VALUES ('upper')")
    for statement in (
        "SELECT rid FROM {}.job",
        "SELECT FROM {}.worker",
        "SELECT heartbeat_at FROM {}.master",
        "UPDATE {}.job SET task_name = 'other'",
        "DELETE FROM {}.job",
        "INSERT INTO {}.job (task_name, worker_rid) VALUES ('upper', gen_random_uuid())",
        "INSERT INTO {}.job_archive (id) VALUES (1)",
        "TRUNCATE {}.job",
        "CREATE TABLE {}.mine ()",
    ):
        assert denied(config, "producer", statement), statement


def test_a_reader_reads_all_and_changes_nothing(config: DatabaseConfiguration) -> None:
    owner = new_static_queuer(roles.as_role(config, "owner"), encryption_key=KEY)
    rid = owner.add_job("upper", SECRET).rid
    reader = new_static_queuer(roles.as_role(config, "reader"), encryption_key=KEY)
    assert reader.get_job(rid).parameters == [SECRET]
    assert len(reader.get_jobs_by_search("upp")) == 1
    assert (reader.get_jobs_ended(), reader.get_workers(), reader.get_master().worker_rid) == ([], [], None)
    assert reader.wait_for_job_finished(rid, 0.01) is None
    for change in (lambda: reader.cancel_job(rid), lambda: reader.add_job("upper"), lambda: reader.delete_job(rid)):
        with pytest.raises(NotPermitted):
            change()
    for statement in ("UPDATE {}.master SET salt = gen_random_uuid()", "DELETE FROM {}.job", "CREATE TABLE {}.mine ()"):
        assert denied(config, "reader", statement), statement
    reader.stop()
    owner.stop()


def test_a_worker_can_not_change_the_tables(config: DatabaseConfiguration) -> None:
    for statement in (
        "DROP TABLE {}.job",
        "CREATE TABLE {}.mine ()",
        "ALTER TABLE {}.job ADD COLUMN mine int",
        "UPDATE {}.job_archive SET results = NULL",
        "UPDATE {}.queuer_alembic_version SET version_num = '0'",
        "DELETE FROM {}.master",
    ):
        assert denied(config, "worker", statement), statement


def test_the_owner_changes_the_key(config: DatabaseConfiguration) -> None:
    owner = roles.as_role(config, "owner")
    q = new_static_queuer(owner, encryption_key=KEY)
    q.add_job("upper", SECRET)
    assert rotate_encryption(f"open sesame,{KEY}", owner) == Rotation(changed=1)
    with pytest.raises(NotPermitted):
        rotate_encryption(KEY, roles.as_role(config, "reader"))
    q.stop()


def test_nobody_slips_functions_under_the_statements_of_a_role(config: DatabaseConfiguration) -> None:
    """They would be called where a search path leads to them, since their signature fits better."""
    body = "RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''slipped in''; END'"
    with connected(replace(config, schema="public")) as admin:
        for arguments in ("varchar, varchar", "text, varchar", "varchar, text"):
            admin.execute(f"CREATE FUNCTION public.pg_notify({arguments}) {body}")
        admin.execute(f"CREATE TABLE public.job (LIKE {psycopg.sql.Identifier(config.schema).as_string()}.job)")
        admin.execute("GRANT ALL ON public.job TO public")
    with new_queuer_with_db("worker", 2, "", roles.as_role(config, "worker")) as q:
        q.add_task(str.upper)
        assert ended(q, q.add_job("upper", "word")).result == "WORD"
        q.stop_worker(q.get_current_worker_rid())  # notifies
    with connected(config) as admin:
        assert admin.execute("SELECT count(*) FROM public.job").fetchone() == (0,)
