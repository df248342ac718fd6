from dataclasses import replace

import pytest
from sqlalchemy import make_url

from queuer import ConfigurationError, DatabaseConfiguration

COMPLETE = {
    "QUEUER_DB_HOST": "db.example",
    "QUEUER_DB_PORT": "6432",
    "QUEUER_DB_DATABASE": "app",
    "QUEUER_DB_USERNAME": "me",
    "QUEUER_DB_PASSWORD": "p@ss/word",
    "QUEUER_DB_SCHEMA": "jobs",
    "QUEUER_DB_SSLMODE": "require",
    "QUEUER_DB_WITH_TIMESCALE": "no",
    "QUEUER_DB_LISTEN_URL": "postgresql://server",
}


def test_every_variable_is_read() -> None:
    assert DatabaseConfiguration.from_env(COMPLETE) == DatabaseConfiguration(
        "db.example",
        6432,
        "app",
        "me",
        "p@ss/word",
        "jobs",
        "require",
        with_timescale=False,
        listen_url="postgresql://server",
    )


def test_what_is_unset_has_its_default() -> None:
    config = DatabaseConfiguration.from_env({"QUEUER_DB_HOST": "x"})
    assert config == DatabaseConfiguration("x", 5432, "queuer", "postgres", "", "public", "prefer", with_timescale=None)


def test_nothing_set_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="no QUEUER_DB_.* variable is set; set QUEUER_DB_HOST"):
        DatabaseConfiguration.from_env({})


@pytest.mark.parametrize("variable", sorted(set(COMPLETE) - {"QUEUER_DB_PASSWORD"}))
@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_variable_is_an_error_that_names_it(variable: str, blank: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{variable} is set but blank"):
        DatabaseConfiguration.from_env({**COMPLETE, variable: blank})


def test_an_empty_password_is_none() -> None:
    assert DatabaseConfiguration.from_env({**COMPLETE, "QUEUER_DB_PASSWORD": ""}).password == ""


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("QUEUER_DB_PORT", "abc", "allowed are 1 to 65535"),
        ("QUEUER_DB_PORT", "0", "allowed are 1 to 65535"),
        ("QUEUER_DB_PORT", "70000", "allowed are 1 to 65535"),
        ("QUEUER_DB_PORT", "-1", "allowed are 1 to 65535"),
        ("QUEUER_DB_PORT", "5432,", "allowed are 1 to 65535, or a list of them"),
        ("QUEUER_DB_PORT", "5432,5433", "for the hosts 'db.example'; allowed is one for all, or one for each"),
        ("QUEUER_DB_HOST", "a,,b", "allowed is one, or a list"),
        ("QUEUER_DB_SSLMODE", "maybe", "allowed are disable, allow, prefer"),
        ("QUEUER_DB_WITH_TIMESCALE", "perhaps", "allowed are auto, true"),
        ("QUEUER_DB_SCHEMA", "s" * 64, "at most 63 bytes"),
        ("QUEUER_DB_HOST", "a\0b", "not blank"),
    ],
)
def test_a_malformed_variable_is_an_error_that_names_it(variable: str, value: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{variable} is .*{says}"):
        DatabaseConfiguration.from_env({**COMPLETE, variable: value})


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("true", True),
        ("1", True),
        ("YES", True),
        ("on", True),
        ("false", False),
        ("0", False),
        ("off", False),
        ("auto", None),
    ],
)
def test_booleans_have_many_words(word: str, meaning: bool | None) -> None:
    config = DatabaseConfiguration.from_env({"QUEUER_DB_WITH_TIMESCALE": word})
    assert config.with_timescale is meaning


def test_a_url_says_the_same() -> None:
    config = DatabaseConfiguration.from_url("postgresql://me:p%40ss%2Fword@db.example:6432/app?sslmode=require")
    assert (config.host, config.port, config.database) == ("db.example", 6432, "app")
    assert (config.username, config.password, config.sslmode) == ("me", "p@ss/word", "require")
    assert DatabaseConfiguration.from_url(config.url) == config


def test_a_url_may_name_a_socket_or_several_hosts() -> None:
    assert DatabaseConfiguration.from_url("postgresql:///app?host=/run/pg").host == "/run/pg"
    assert DatabaseConfiguration.from_url("postgresql://u@/app?host=a,b").host == "a,b"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "malformed"),
        ("postgresql://u@h:port/x", "malformed"),
        ("mysql://u@h/x", "the URL is of 'mysql'"),
        ("postgresql://u@h/x?colour=red", "libpq does not know: .*colour"),
        ("postgresql://u@h:99999/x", "allowed are 1 to 65535"),
        ("postgresql://u@h/x?target_session_attrs=any", "target_session_attrs other than read-write"),
    ],
)
def test_a_url_that_makes_no_sense_is_an_error(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        DatabaseConfiguration.from_url(url)


def test_the_url_is_for_psycopg_and_a_host_list_reaches_libpq() -> None:
    url = DatabaseConfiguration(host="a,b", port=1234).url
    assert url.drivername == "postgresql+psycopg"
    assert url.query["host"] == "a,b"
    assert make_url(url) == url


def test_each_host_may_have_a_port_of_its_own() -> None:
    config = DatabaseConfiguration.from_env({"QUEUER_DB_HOST": "a, b", "QUEUER_DB_PORT": "5432, 5433"})
    assert (config.host, config.port) == ("a,b", "5432,5433")
    assert config.url.query["port"] == config.connection_parameters["port"] == "5432,5433"
    assert DatabaseConfiguration.from_url(config.url).port == "5432,5433"


@pytest.mark.parametrize("attrs", ["read-write", "primary"])
def test_only_a_server_that_accepts_writes_will_do(attrs: str) -> None:
    assert DatabaseConfiguration().connection_parameters["target_session_attrs"] == "read-write"
    config = DatabaseConfiguration.from_url(f"postgresql://u@/app?host=a,b&target_session_attrs={attrs}")
    assert config.url.query["target_session_attrs"] == attrs
    assert config.connection_parameters["target_session_attrs"] == attrs


def test_the_password_is_never_shown() -> None:
    config = DatabaseConfiguration(password="hunter2")
    assert "hunter2" not in repr(config) + str(config) + repr(config.url) + str(config.url)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 0},
        {"port": "5432"},
        {"port": True},
        {"host": ""},
        {"host": "a, b"},
        {"schema": None},
        {"password": None},
        {"with_timescale": "x"},
    ],
)
def test_values_given_in_code_are_checked_too(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=f"^{next(iter(wrong))} is"):
        DatabaseConfiguration(**wrong)


def test_what_a_listen_url_leaves_out_is_that_of_the_rest() -> None:
    pooler = DatabaseConfiguration(
        host="pooler", port=6432, database="d", username="me", password="secret", parameters={"hostaddr": "10.0.0.1"}
    )
    direct = replace(pooler, listen_url="postgresql://server?sslmode=require").to_listen
    assert direct == replace(pooler, host="server", port=5432, sslmode="require", parameters={})
    other = replace(pooler, listen_url="postgresql://other:word@server:5433/d").to_listen
    assert (other.port, other.username, other.password) == (5433, "other", "word")
    assert pooler.to_listen is pooler


def test_a_listen_url_that_makes_no_sense_is_an_error_and_is_never_shown() -> None:
    with pytest.raises(ConfigurationError, match="^QUEUER_DB_LISTEN_URL is of 'mysql'"):
        DatabaseConfiguration.from_env({"QUEUER_DB_LISTEN_URL": "mysql://me:secret@db"})
    with pytest.raises(ConfigurationError, match="^listen_url is malformed"):
        DatabaseConfiguration.from_url("postgresql://db", listen_url="db:me:secret")
    with pytest.raises(ConfigurationError, match="the port of listen_url is '99999'|port is 99999"):
        DatabaseConfiguration(listen_url="postgresql://me:secret@db:99999")
    assert "secret" not in repr(DatabaseConfiguration(listen_url="postgresql://me:secret@db"))
