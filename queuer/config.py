"""Where the database is. Read from keywords, from `QUEUER_DB_*`, or from a URL; checked once, never changed."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, make_url

from queuer.errors import ConfigurationError

PREFIX = "QUEUER_DB_"
#: libpq's `target_session_attrs`: a queue is of no use on a standby, and after a failover the old primary is one.
WRITABLE = {"target_session_attrs": "read-write"}
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_PORT = re.compile("[0-9]{1,5}")
_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")


@dataclass(frozen=True, slots=True)
class DatabaseConfiguration:
    """How to reach PostgreSQL.

    Args:
        host: A name, an address, a directory with a unix socket, or a comma-separated list of them for failover: the
            first one that accepts writes is used.
        port: 1..65535, or a comma-separated list, one for each host.
        database, username, password: As PostgreSQL knows them.
        schema: Holds the queue's tables; created when missing.
        sslmode: One of libpq's.
        with_timescale: None = make the archive a hypertable when the server offers TimescaleDB; True = require it;
            False = never.
        parameters: Further ones of libpq's, like `sslrootcert`. In a URL they stand in the query.
        listen_url: Where to listen for notifications, when the rest names a pooler such as PgBouncer, through which
            none come: a URL of the server itself. Names and passwords that it leaves out are those of the rest.

    Raises:
        ConfigurationError: A value is blank or not allowed.
    """

    host: str = "localhost"
    port: int | str = 5432
    database: str = "queuer"
    username: str = "postgres"
    password: str = field(default="", repr=False)
    schema: str = "public"
    sslmode: str = "prefer"
    with_timescale: bool | None = None
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)  # one is sslpassword
    listen_url: str | None = field(default=None, repr=False)  # it may carry a password

    def __post_init__(self) -> None:
        for name in ("host", "database", "username", "schema"):
            _check_text(name, getattr(self, name))
        if not isinstance(self.password, str):
            raise ConfigurationError("password is not a str; allowed is a str, empty for none")
        if len(self.schema.encode()) > 63:
            raise ConfigurationError(f"schema is {self.schema!r}; PostgreSQL allows at most 63 bytes")
        _check_hosts(self.host, self.port)
        if self.sslmode not in SSL_MODES:
            raise ConfigurationError(f"sslmode is {self.sslmode!r}; allowed are {', '.join(SSL_MODES)}")
        if self.with_timescale not in (None, True, False):
            raise ConfigurationError(f"with_timescale is {self.with_timescale!r}; allowed are None, True and False")
        _check_parameters(self.parameters)
        if self.listen_url is not None:
            _check_text("listen_url", self.listen_url)
            self.to_listen  # noqa: B018 - raises what is wrong with it

    @property
    def to_listen(self) -> Self:
        """The same database, reached by the `listen_url` if there is one."""
        if self.listen_url is None:
            return self
        given = _parts_of_url(self.listen_url, "listen_url")
        parameters = dict(self.parameters)
        if "host" in given:  # then the rest of the pooler's address does not count
            given.setdefault("port", 5432)
            parameters.pop("hostaddr", None)
        given["parameters"] = parameters | given["parameters"]
        return replace(self, listen_url=None, **given)

    @property
    def url(self) -> URL:
        """The SQLAlchemy URL, for psycopg 3. Without `sslpassword`, which goes into `connect_args`."""
        # In the query, unlike in the host part, libpq takes directories and lists as well as names.
        query = {"host": self.host, "port": str(self.port), "sslmode": self.sslmode, **WRITABLE, **self.parameters}
        query.pop("sslpassword", None)  # a URL shows its query to whoever prints it
        return URL.create(
            "postgresql+psycopg",
            username=self.username,
            password=self.password or None,
            database=self.database,
            query=query,
        )

    @property
    def connection_parameters(self) -> dict[str, Any]:
        """The same for libpq, as keywords: a URI could not carry every password or name."""
        return {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.username,
            "password": self.password or None,
            "sslmode": self.sslmode,
            **WRITABLE,
            **self.parameters,
        }

    @classmethod
    def is_in_env(cls, environ: Mapping[str, str] = os.environ) -> bool:
        """Whether any `QUEUER_DB_*` that this class reads is set."""
        return any(PREFIX + name in environ for name in _READERS)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Reads `QUEUER_DB_HOST/PORT/DATABASE/USERNAME/PASSWORD/SCHEMA/SSLMODE/WITH_TIMESCALE/LISTEN_URL`.

        What is unset has its default. An empty password is none; any other blank value is an error.

        Raises:
            ConfigurationError: A variable is blank or malformed, or none of them is set. Names the variable.
        """
        if not cls.is_in_env(environ):
            raise ConfigurationError(
                f"no {PREFIX}* variable is set; set {PREFIX}HOST and its like, or pass a DatabaseConfiguration"
            )
        values: dict[str, Any] = {}
        for name, read in _READERS.items():
            variable = PREFIX + name
            if variable in environ:
                values[name.lower()] = read(variable, environ[variable])
        try:
            return cls(**values)
        except ConfigurationError as error:  # its text starts with the field's name: say the variable's instead
            raise ConfigurationError(PREFIX + re.sub(r"^\w+", lambda m: m[0].upper(), str(error))) from None

    @classmethod
    def from_url(
        cls,
        url: str | URL,
        *,
        schema: str = "public",
        with_timescale: bool | None = None,
        listen_url: str | None = None,
    ) -> Self:
        """Reads `postgresql://user:password@host:port/database?sslmode=…`; what it leaves out has its default.

        Raises:
            ConfigurationError: The URL is malformed, of another database, or has a parameter that is not known here.
        """
        parts = _parts_of_url(url, "the URL")
        return cls(schema=schema, with_timescale=with_timescale, listen_url=listen_url, **parts)


def _parts_of_url(url: str | URL, name: str) -> dict[str, Any]:
    """The fields of a configuration that a URL gives a value to, and `parameters`."""
    try:
        parsed = make_url(url)
    except Exception:  # noqa: BLE001 - whatever it is that was given: the reason may show a password
        raise ConfigurationError(f"{name} is malformed; allowed is postgresql://user@host:port/database") from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigurationError(f"{name} is of {parsed.drivername!r}; allowed is postgresql://…")
    query = {name: value if isinstance(value, str) else ",".join(value) for name, value in parsed.query.items()}
    query = {name: value for name, value in query.items() if (name, value) not in WRITABLE.items()}
    port = query.pop("port", parsed.port)
    given: dict[str, Any] = {
        "host": query.pop("host", parsed.host),
        "port": port and _read_port(f"the port of {name}", str(port)),
        "database": parsed.database,
        "username": parsed.username,
        "password": parsed.password,
        "sslmode": query.pop("sslmode", None),
    }
    return {name: value for name, value in given.items() if value} | {"parameters": query}


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ConfigurationError(f"{name} is {value!r}; allowed is text that is not blank")


def _check_parameters(parameters: Mapping[str, str]) -> None:
    if own := sorted({"host", "port", "dbname", "user", "password", "sslmode"} & set(parameters)):
        raise ConfigurationError(f"parameters has {', '.join(own)}; give each as the argument that there is for it")
    if parameters.get("target_session_attrs", "primary") not in ("primary", "read-write"):
        raise ConfigurationError("parameters has a target_session_attrs other than read-write; queuer has to write")
    try:
        make_conninfo(**parameters)
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(f"parameters has what libpq does not know: {str(error).strip()}") from None


def _check_hosts(host: str, port: object) -> None:
    if not all(each and each == each.strip() for each in host.split(",")):
        raise ConfigurationError(f"host is {host!r}; allowed is one, or a list of them with but a comma between two")
    is_list = isinstance(port, str) and "," in port
    ports = str(port).split(",") if is_list or (isinstance(port, int) and not isinstance(port, bool)) else [""]
    if not all(_PORT.fullmatch(each) and 1 <= int(each) <= 65535 for each in ports):
        raise ConfigurationError(f"port is {port!r}; allowed are 1 to 65535, or a list of them")
    if is_list and len(ports) != len(host.split(",")):
        raise ConfigurationError(f"port is {port!r} for the hosts {host!r}; allowed is one for all, or one for each")


def _read_text(variable: str, value: str) -> str:
    if not value.strip():
        raise ConfigurationError(f"{variable} is set but blank; give it a value or unset it")
    return value


def _read_hosts(variable: str, value: str) -> str:
    return ",".join(each.strip() for each in _read_text(variable, value).split(","))


def _read_password(_variable: str, value: str) -> str:
    return value


def _read_port(variable: str, value: str) -> int | str:
    _read_text(variable, value)
    if "," in value:
        return value.replace(" ", "")
    if not _PORT.fullmatch(value.strip()):
        raise ConfigurationError(f"{variable} is {value!r}; allowed are 1 to 65535")
    return int(value)


def _read_timescale(variable: str, value: str) -> bool | None:
    word = _read_text(variable, value).strip().lower()
    if word not in (*_TRUE, *_FALSE, "auto"):
        raise ConfigurationError(f"{variable} is {value!r}; allowed are auto, {', '.join((*_TRUE, *_FALSE))}")
    return None if word == "auto" else word in _TRUE


_READERS: dict[str, Callable[[str, str], Any]] = {
    "HOST": _read_hosts,
    "PORT": _read_port,
    "DATABASE": _read_text,
    "USERNAME": _read_text,
    "PASSWORD": _read_password,
    "SCHEMA": _read_text,
    "SSLMODE": _read_text,
    "WITH_TIMESCALE": _read_timescale,
    "LISTEN_URL": _read_text,
}
