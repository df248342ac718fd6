"""TLS, with a server that has a certificate and takes nothing else."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from support.contract import ended
from support.tls import PASSWORD, Issued, issue, tls_server, write_certificate

from queuer import DatabaseConfiguration, DatabaseUnavailable, new_queuer_with_db, new_static_queuer


@pytest.fixture(scope="module")
def authority() -> Issued:
    return issue("authority of the tests")


@pytest.fixture(scope="module")
def server(authority: Issued) -> Iterator[DatabaseConfiguration]:
    with tls_server(authority) as config:
        yield config


@pytest.fixture
def config(server: DatabaseConfiguration, authority: Issued, tmp_path: Path) -> DatabaseConfiguration:
    """With the authority that signed the server's certificate."""
    return replace(server, parameters={"sslrootcert": str(write_certificate(tmp_path / "ca.pem", authority))})


def test_all_connections_are_encrypted_and_verified(config: DatabaseConfiguration) -> None:
    with new_queuer_with_db("tls", 2, "", config) as q:
        q.add_task(str.upper)
        assert ended(q, asyncio.run(q.add_job_async("upper", "word"))).result == "WORD"
        with psycopg.connect(**config.connection_parameters) as connection:
            rows = connection.execute(
                "SELECT application_name, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                " WHERE application_name LIKE 'queuer%'"
            ).fetchall()
    assert {name for name, _ in rows} >= {"queuer tls worker", "queuer tls heartbeat", "queuer listener"}
    assert all(is_encrypted for _, is_encrypted in rows)


def test_a_url_says_the_same(config: DatabaseConfiguration) -> None:
    url = config.url.render_as_string(hide_password=False)
    assert "sslrootcert=" in url
    q = new_static_queuer(DatabaseConfiguration.from_url(url))
    assert q.get_jobs() == []
    q.stop()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"host": "127.0.0.1"}, 'server certificate for "localhost" .*does not match host name "127.0.0.1"'),
        ({"sslmode": "disable"}, "no encryption"),
    ],
)
def test_a_wrong_host_and_no_tls_are_refused(config: DatabaseConfiguration, changes: dict[str, str], says: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=says) as caught:
        new_static_queuer(replace(config, **changes))
    assert PASSWORD not in str(caught.value)


def test_a_certificate_of_another_authority_is_refused(config: DatabaseConfiguration, tmp_path: Path) -> None:
    other = write_certificate(tmp_path / "other.pem", issue("another authority"))
    with pytest.raises(DatabaseUnavailable, match="certificate verify failed"):
        new_queuer_with_db("tls", 1, "", replace(config, parameters={"sslrootcert": str(other)}))


def test_verify_ca_takes_any_host_of_the_authority(config: DatabaseConfiguration) -> None:
    q = new_static_queuer(replace(config, host="127.0.0.1", sslmode="verify-ca"))
    assert q.get_jobs() == []
    q.stop()
