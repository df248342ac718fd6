"""Who listens to channels, and what was heard."""

from queue import SimpleQueue

from sqlalchemy import Connection, Engine, text

from queuer import events
from queuer.database.listener import Listener
from queuer.events import Channel

Heard = SimpleQueue[str | None]

ADDED, ENDED, UPDATED = (of("public") for of in (events.added, events.ended, events.updated))


def listen(listener: Listener, channel: Channel) -> Heard:
    heard: Heard = SimpleQueue()
    listener.listen(channel, heard.put)
    assert heard.get(timeout=5) is None  # look at everything once: something may have happened before
    return heard


def nothing_more(heard: Heard, engine: Engine, channel: Channel) -> bool:
    """Notifications come in the order of their commits, so one sent now comes after all others."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_notify(:channel, 'last')"), {"channel": channel.name})
    return heard.get(timeout=5) == "last"


def alone(engine: Engine) -> Connection:
    """Each statement in a transaction of its own: then it is looked whether anybody listens."""
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")
