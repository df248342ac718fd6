"""TimescaleDB, where the archive is one of its hypertables."""

from sqlalchemy import Connection, text


def functions_of(connection: Connection, schema: str | None) -> str | None:
    """The schema in which TimescaleDB's functions are, if the archive is a hypertable; else None."""
    where = "SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'timescaledb'"
    functions: str | None = connection.scalar(text(where))
    if functions is None:
        return None
    is_hypertable = """SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
        WHERE hypertable_name = 'job_archive' AND hypertable_schema = coalesce(:schema, current_schema()))"""
    return functions if connection.scalar(text(is_hypertable), {"schema": schema}) else None


def resolved(connection: Connection, with_timescale: bool | None) -> bool | None:  # noqa: FBT001 - a setting's value
    """`with_timescale` for the revisions. None = False for who may not see whether the server has the library loaded.

    Such a user could not create the extension either, which takes a superuser. Where it has been created there is no
    question.
    """
    if with_timescale is not None:
        return with_timescale
    can_tell = """SELECT pg_has_role('pg_read_all_settings', 'USAGE')
        OR EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"""
    return None if connection.scalar(text(can_tell)) else False
