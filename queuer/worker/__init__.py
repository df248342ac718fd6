"""Runs jobs. Given callables that claim and finish, it knows nothing of databases.

claimer -> runner -> executors (threads, event loop), processes (child, serve) -> reporter
"""
