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
