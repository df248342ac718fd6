"""A newsletter that people subscribe to over HTTP, and that welcomes them in the background."""

from flask import Flask

from newsletter import queue, views
from newsletter.database import create_tables, db
from queuer import default_configuration


def create_app() -> Flask:
    app = Flask(__name__)
    # Of the QUEUER_DB_* variables, else the PostgreSQL that comes with queuer[embedded]. Yours is in your settings.
    app.config["SQLALCHEMY_DATABASE_URI"] = default_configuration().url
    db.init_app(app)
    with app.app_context():
        create_tables()
    queue.init_app(app)
    app.register_blueprint(views.pages)
    return app
