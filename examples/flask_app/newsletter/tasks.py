"""What is done in the background, by `flask worker`."""

import logging
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

import queuer
from newsletter.database import Subscriber

logger = logging.getLogger(__name__)


@queuer.task
def welcome(session: Session, subscriber_id: UUID) -> str:
    """Welcomes a subscriber. The worker gives the session: what is written there, and the end of the job, are one
    commit. What is done elsewhere can't be part of that: after a crash the email may go out again.
    """
    subscriber = session.get_one(Subscriber, subscriber_id)
    logger.info("Dear %s, welcome!", subscriber.email)  # stands for the email
    subscriber.welcomed_at = func.now()
    return f"welcomed {subscriber.email}"
