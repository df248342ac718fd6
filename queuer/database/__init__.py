"""Connections, transactions, migrations and notifications. Owns when things commit; the SQL is in the repositories."""
