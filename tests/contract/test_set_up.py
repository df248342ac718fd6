"""The contract's "Set-up", on the public API alone."""

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

import queuer
from queuer import (
    ConfigurationError,
    DatabaseConfiguration,
    OnError,
    Worker,
    WorkerStatus,
    new_queuer,
    new_queuer_with_db,
    new_static_queuer,
)


@pytest.mark.parametrize("name", ["", "x" * 101, None, 5, "a\0b"])
def test_a_name_has_1_to_100_characters(name: object) -> None:
    with pytest.raises(ValueError, match="name is .*; allowed is a str of 1 to 100 characters"):
        new_queuer(name, 1)


@pytest.mark.parametrize("max_concurrency", [0, -1, 1.5, "3", True, None])
def test_max_concurrency_is_a_whole_number_from_1_on(max_concurrency: object) -> None:
    with pytest.raises(ValueError, match="max_concurrency is .*; allowed is a whole number, 1 or more"):
        new_queuer("test", max_concurrency)


def test_options_are_one_on_error() -> None:
    with pytest.raises(ValueError, match="options are .*; allowed is one OnError, or none"):
        new_queuer("test", 1, OnError(), OnError())
    with pytest.raises(ValueError, match="allowed is one OnError"):
        new_queuer("test", 1, "fast")


def test_arguments_are_checked_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUER_DB_HOST", "127.0.0.1")
    monkeypatch.setenv("QUEUER_DB_PORT", "1")
    with pytest.raises(ValueError, match="max_concurrency"):
        new_queuer("test", 0)


def test_the_configuration_comes_from_the_environment(
    config: DatabaseConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("host", "port", "database", "username", "sslmode"):
        monkeypatch.setenv(f"QUEUER_DB_{name.upper()}", str(getattr(config, name)))
    monkeypatch.setenv("QUEUER_DB_PASSWORD", config.password)
    q = new_queuer("test", 1)
    assert q.get_jobs() == []
    q.stop()


def test_a_worker_row_is_inserted_and_follows_the_queuers_life(engine: Engine, config: DatabaseConfiguration) -> None:
    q = new_queuer_with_db("my worker", 3, "", config, OnError(max_retries=1))

    def row() -> Worker:
        with Session(engine) as session:
            return session.scalars(select(Worker)).one()

    assert (row().name, row().max_concurrency, row().status) == ("my worker", 3, WorkerStatus.READY)
    assert row().on_error["max_retries"] == 1
    q.add_task_with_name(print, "say")
    assert row().tasks == ["say"]
    q.start()
    assert row().status is WorkerStatus.RUNNING
    q.add_task_with_name(print, "say more")
    assert row().tasks == ["say", "say more"]
    q.stop()
    assert row().status is WorkerStatus.STOPPED


def test_a_key_that_is_none_is_refused_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = DatabaseConfiguration(host="127.0.0.1", port=1)
    with pytest.raises(ConfigurationError, match="key 2 of the 2 in encryption_key is blank"):
        new_queuer_with_db("test", 1, "secret,", nowhere)
    monkeypatch.setenv("QUEUER_ENCRYPTION_KEY", " ")
    with pytest.raises(ConfigurationError, match="QUEUER_ENCRYPTION_KEY is blank"):
        new_queuer("test", 1)
    with pytest.raises(ConfigurationError, match="QUEUER_ENCRYPTION_KEY is blank"):
        new_static_queuer(nowhere)


def test_every_public_name_is_there_and_documented() -> None:
    for name in queuer.__all__:
        assert getattr(queuer, name).__doc__, name


def test_every_error_is_a_queuer_error() -> None:
    builtin = {
        "ConfigurationError": ValueError,
        "DatabaseUnavailable": ConnectionError,
        "JobNotFound": LookupError,
        "WorkerNotFound": LookupError,
        "NoCurrentJob": LookupError,
        "TaskNotRegistered": LookupError,
        "TaskAlreadyRegistered": ValueError,
        "InvalidParameters": TypeError,
        "JobTimeout": TimeoutError,
        "SchemaTooNew": Exception,
    }
    for name, kind in builtin.items():
        assert issubclass(getattr(queuer, name), (queuer.QueuerError, kind))
        assert issubclass(getattr(queuer, name), kind)
