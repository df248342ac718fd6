"""The queue, as an extension of the application."""

import logging

from flask import Flask, current_app

from newsletter.database import db
from queuer import OnError, StaticQueuer, new_queuer_with_engine, new_static_queuer


def init_app(app: Flask) -> None:
    """Web processes add jobs and look for them. `flask worker` runs them."""
    with app.app_context():
        app.extensions["queuer"] = new_static_queuer(engine=db.engine)

    @app.cli.command("worker")
    def worker() -> None:
        """Runs jobs until SIGTERM or Ctrl-C."""
        logging.basicConfig(level=logging.INFO)
        new_queuer_with_engine("newsletter worker", 4, db.engine, OnError(timeout=60, max_retries=3)).run()


def current_queue() -> StaticQueuer:
    """The queue of the application that handles the request."""
    queue: StaticQueuer = current_app.extensions["queuer"]
    return queue
