"""Statements that go to psycopg as they are: around the hottest ones a session costs more than they do themselves.

Their parameters are numbered once, where they are composed: psycopg would look for the named ones each time, in texts
that are too long for its cache.
"""

import re
import select
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.adapt import Transformer
from psycopg.generators import execute
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult
from sqlalchemy import ARRAY, Executable
from sqlalchemy import text as sql_text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import Session

from queuer import events
from queuer.repositories.binary import PACKS, Pack
from queuer.repositories.literals import literal

DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]

_numbers = count()  # of prepared statements: no connection has a name twice
_DONE = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)

#: Milliseconds within which most answers come. Beyond, it is attended whether there will be one; see `liveness`.
_SOON = 100
#: Seconds to cancel what nobody waits for any more; as in the driver.
_CANCELS_WITHIN = 5.0

_PARAMETER = re.compile(r"%%|%\((\w+)\)s")
_CHANNELS = {"added": events.added, "updated": events.updated}
_PLACE = re.compile(rf"{{(job|(?:{'|'.join(_CHANNELS)})(?:_key)?)}}")


@dataclass(frozen=True, slots=True)
class Numbered:
    """SQL with `$1` and so on."""

    text: str
    #: Their names, and what makes bytes of a value and the connection's encoding.
    parameters: Sequence[tuple[str, Callable[[Any, str], bytes]]]
    formats: Sequence[Format]
    #: Those that have values for good.
    constants: Mapping[str, Any]


class Direct:
    """A connection of psycopg's in autocommit, instead of a session; and the schema of the queue's tables.

    Each statement is a transaction of its own, and relies on that: see `jobs.insert_plain`.

    It talks to libpq by itself: a cursor takes about as long for a small statement as the server does.
    """

    def __init__(self, connection: psycopg.Connection[Any], schema: str | None) -> None:
        self.connection = connection
        self.schema = schema
        encoding = connection.info.encoding
        self.encoding = "utf-8" if encoding == "ascii" else encoding  # as psycopg: the server takes any bytes
        self._reading = Transformer(connection)
        self._keeps_prepared = connection.prepare_threshold is not None
        self._prepared: dict[str, bytes] = {}  # names, by statements
        self._poll = _poll_of(connection)

    def execute(self, statement: Numbered, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows that a statement returns.

        Args:
            parameters: Values; for those that are no arrays of a `Prepared`, also bytes as `written` returns them.

        Raises:
            psycopg.Error: As of a cursor.
        """
        self.send(statement, parameters)
        return self.receive()

    def send(self, statement: Numbered, parameters: Mapping[str, Any]) -> None:
        """The first half of `execute`, for who has something to do until the answer comes. Then it has to be received.

        The statement is prepared once, unless the connection may keep nothing prepared.
        """
        given, encoding = {**statement.constants, **parameters}, self.encoding
        values = [
            None if (value := given[name]) is None else write(value, encoding) for name, write in statement.parameters
        ]
        pgconn = self.connection.pgconn
        if not self._keeps_prepared:
            text = statement.text.encode(self.encoding)
            pgconn.send_query_params(text, values, param_formats=statement.formats, result_format=Format.BINARY)
        else:
            name = self._prepared.get(statement.text) or self._prepare(statement.text)
            pgconn.send_query_prepared(name, values, statement.formats, result_format=Format.BINARY)

    def receive(self) -> list[tuple[Any, ...]]:
        """The rows that the statement returns which was sent last. Raises as `execute` does."""
        result = self._result()
        self._reading.set_pgresult(result)
        rows = self._reading.load_rows(0, result.ntuples, tuple)
        self._reading.set_pgresult(None)  # it may be large
        return rows

    def _prepare(self, text: str) -> bytes:
        name = b"queuer_%d" % next(_numbers)
        self.connection.pgconn.send_prepare(name, text.encode(self.encoding))
        self._result()
        self._prepared[text] = name
        return name

    def _result(self) -> PGresult:
        results, is_all = self._soon()
        if not is_all:
            try:
                results += self.connection.wait(execute(self.connection.pgconn))
            except psycopg.DatabaseError:
                if not any(result.status == ExecStatus.FATAL_ERROR for result in results):
                    raise  # else it has said why before it went away
        result = results[-1]  # a commit that fails says so after what its statement has returned
        if result.status not in _DONE:
            raise psycopg.errors.error_from_result(result, self.encoding)
        return result

    def _soon(self) -> tuple[list[PGresult], bool]:
        """What the server answers soon, and whether that is all: past the driver's generators, which cost more than it.

        Here nothing waits for the rest of an answer: libpq would do so in the interpreter's lock, for ever.
        """
        results: list[PGresult] = []
        pgconn = self.connection.pgconn
        if self._poll is None or pgconn.flush():
            return results, False
        try:
            has_come = self._poll(_SOON)
        except BaseException:  # a KeyboardInterrupt, say
            with suppress(psycopg.Error):
                self.connection.cancel_safe(timeout=_CANCELS_WITHIN)
            raise
        if has_come:
            pgconn.consume_input()
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    return results, True
                results.append(result)
        return results, False


def _poll_of(connection: psycopg.Connection[Any]) -> Callable[[int], Sequence[object]] | None:
    """Waits so many milliseconds for something to read. None where the system, or who patched it, has no `poll()`."""
    if not hasattr(select, "poll"):
        return None
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    return poller.poll


def written(value: Any, encoding: str) -> bytes:
    """A parameter as it is sent: the text of a value that `literal` can write, not None; or bytes as they are."""
    kind = type(value)
    if kind is bytes:
        return value  # type: ignore[no-any-return]
    if kind is UUID:
        return b"%032x" % value.int  # in one call
    text = value if kind is str else literal(value)
    encoded = text.encode(encoding)
    if b"\0" in encoded:  # there it would end for libpq
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return encoded


class Prepared:
    """A statement of SQLAlchemy's, which also runs without it."""

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._composed: dict[str | None, Numbered] = {}

    def scalar(self, session: Session | Direct, parameters: Mapping[str, Any]) -> Any:
        """The first column of the first row."""
        if not isinstance(session, Direct):
            return session.scalar(self._statement, parameters)
        statement = self._composed.get(session.schema) or self.compose(session.schema)
        found = session.execute(statement, parameters)
        return found[0][0] if found else None

    def compose(self, schema: str | None) -> Numbered:
        """What SQLAlchemy makes of it, which takes it long, once."""
        compiled = self._statement.compile(  # type: ignore[attr-defined]
            dialect=DIALECT, schema_translate_map={None: schema}, render_schema_translate=True
        )
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        arrays = {name: bind.type.item_type for name, bind in compiled.binds.items() if isinstance(bind.type, ARRAY)}
        packs = {name: PACKS[type(elements)] for name, elements in arrays.items()}
        self._composed[schema] = composed = _numbered(str(compiled), constants, packs)
        return composed


def rows(session: Session | Direct, template: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What SQL returns. In it `{job}` stands for the table, `{added}` for a channel, `{added_key}` for the key of its
    lock (of `updated` alike), and `%(name)s` for a parameter.
    """
    return sent(session, template, parameters)()


def sent(
    session: Session | Direct, template: str, parameters: Mapping[str, Any]
) -> Callable[[], list[tuple[Any, ...]]]:
    """`rows` in two steps: what this returns waits for them. Nothing else may be done in the session until then."""
    if isinstance(session, Direct):
        session.send(_composed(template, session.schema), parameters)
        return session.receive
    statement = _filled_in(template, schema_of(session)).replace(":", r"\:")
    named = _PARAMETER.sub(lambda match: f":{match[1]}" if match[1] else "%", statement)
    found = [tuple(row) for row in session.execute(sql_text(named), parameters)]
    return lambda: found


def schema_of(session: Session | Direct) -> str | None:
    """The schema of a session's statements: that of its `schema_translate_map`; None = the search path decides.

    A session in a caller's transaction brings the map with each statement, and the schema as its `info`.
    """
    if isinstance(session, Direct):
        return session.schema
    options = session.connection().get_execution_options()
    schema: str | None = session.info.get("schema") or options.get("schema_translate_map", {}).get(None)
    return schema


@cache
def _composed(template: str, schema: str | None) -> Numbered:
    return _numbered(_filled_in(template, schema), {}, {})


@cache
def _filled_in(template: str, schema: str | None) -> str:
    parts = {"job": sql.Identifier(*([schema] if schema else []), "job").as_string().replace("%", "%%")}
    for name, channel_of in _CHANNELS.items():
        channel = channel_of(schema or "public")
        parts |= {name: f"'{channel.name}'", f"{name}_key": str(channel.key)}
    return _PLACE.sub(lambda match: parts[match[1]], template)


def _numbered(statement: str, constants: Mapping[str, Any], packs: Mapping[str, Pack]) -> Numbered:
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        name = match[1]
        return f"${names.setdefault(name, len(names) + 1)}" if name else "%"

    text = _PARAMETER.sub(number, statement)
    formats = [Format.BINARY if name in packs else Format.TEXT for name in names]  # arrays go in binary
    return Numbered(text, [(name, packs.get(name, written)) for name in names], formats, constants)
