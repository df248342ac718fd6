from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from support.contract import eventually
from support.hearing import ADDED, ENDED, Heard, listen, nothing_more
from support.jobs import new_job

from queuer import DatabaseConfiguration, DatabaseUnavailable
from queuer.database.listener import Listener
from queuer.database.liveness import SERVER_SIDE
from queuer.database.liveness import Connection as Attended
from queuer.database.sources import Source
from queuer.events import NOBODY_KNOWS, read_added
from queuer.repositories import jobs

OF_LISTENERS = """
FROM pg_stat_activity WHERE application_name = 'queuer listener' AND datname = current_database()
"""


def test_a_cut_connection_is_replaced_and_everything_looked_at_again(engine: Engine, added: Heard) -> None:
    with engine.begin() as connection:
        cut = connection.execute(text(f"SELECT pg_terminate_backend(pid) {OF_LISTENERS}"))
        assert [row[0] for row in cut] == [True]
    assert added.get(timeout=5) is None
    assert nothing_more(added, engine, ADDED)


def test_one_connection_serves_all_channels_and_none_is_left(engine: Engine, listener: Listener) -> None:
    listen(listener, ADDED)
    listen(listener, ENDED)
    assert listeners(engine) == 1
    listener.close()
    listener.close()
    eventually(lambda: listeners(engine) == 0)  # the server may need a moment to see that it is alone
    listen(listener, ADDED)
    assert listeners(engine) == 1


def test_what_comes_while_the_listener_is_busy_is_heard_at_once(
    engine: Engine, listener: Listener, added: Heard
) -> None:
    with engine.connect() as holder, ThreadPoolExecutor(1) as pool:
        holder.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ENDED.key})
        listening = pool.submit(listener.listen, ENDED, lambda _payload: None)  # waits for the lock
        with Session(engine) as session, session.begin():
            job = jobs.insert_one(session, new_job())
        holder.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ENDED.key})
        listening.result(timeout=5)
    assert added.get(timeout=2) == f"{job.id}:{job.rid}"


def test_what_somebody_notifies_in_another_encoding_ends_nothing(config: DatabaseConfiguration, engine: Engine) -> None:
    listener = Listener(Source(replace(config, parameters={"client_encoding": "latin1"})))
    heard = listen(listener, ADDED)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_notify(:channel, 'é')"), {"channel": ADDED.name})
    payload = heard.get(timeout=5)
    assert payload is not None  # which would say that the connection was lost
    assert read_added(payload) == NOBODY_KNOWS
    assert nothing_more(heard, engine, ADDED)
    listener.close()


def test_what_is_no_longer_listened_to_is_not_heard(engine: Engine, listener: Listener, added: Heard) -> None:
    ended = listen(listener, ENDED)
    listener.unlisten(ADDED, added.put)
    listener.unlisten(ADDED, added.put)
    assert nothing_more(ended, engine, ENDED)
    with Session(engine) as session, session.begin():
        jobs.insert_one(session, new_job())
    assert nothing_more(ended, engine, ENDED)
    assert added.empty()


def listeners(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(text(f"SELECT count(*) {OF_LISTENERS}")) or 0


def test_a_connection_that_can_not_be_made_ready_is_closed(
    config: DatabaseConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the server shuts down that moment."""
    opened: list[Attended] = []

    def connect(**options: Any) -> Attended:
        opened.append(Attended.connect(**options))
        return opened[-1]

    monkeypatch.setattr("queuer.database.sources.Connection", SimpleNamespace(connect=connect))
    monkeypatch.setitem(SERVER_SIDE, "work_mem", "nonsense")
    with pytest.raises(psycopg.Error, match="work_mem"):
        Source(config).connect()
    assert [connection.closed for connection in opened] == [True]


def test_an_unreachable_server_is_said() -> None:
    listener = Listener(Source(DatabaseConfiguration(host="127.0.0.1", port=1)))
    with pytest.raises(DatabaseUnavailable, match="can't listen on host 127.0.0.1, port 1"):
        listener.listen(ADDED, print, timeout=0.05)
    listener.close()
