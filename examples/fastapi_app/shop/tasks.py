"""What is done in the background, in the web processes or in those of `shop.worker`."""

import asyncio
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

import queuer
from queuer import OnError
from shop.models import Order

ON_ERROR = OnError(timeout=60, max_retries=3, retry_backoff="exponential")


@queuer.task
async def pack(session: AsyncSession, order_id: UUID) -> str:
    """Packs an order. The worker gives the session: what is written there, and the end of the job, are one commit."""
    order = await session.get_one(Order, order_id)
    await asyncio.sleep(0.01 * order.quantity)  # stands for the work
    order.packed_at = func.now()
    return f"{order.quantity} x {order.item}"
