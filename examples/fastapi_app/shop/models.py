from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import DateTime
from sqlalchemy.orm import Mapped, mapped_column

from shop.database import Base


class Order(Base):
    __tablename__ = "shop_order"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    #: The customer's own name for the order, so that nobody orders twice by pressing a button twice.
    reference: Mapped[str] = mapped_column(unique=True)
    item: Mapped[str]
    quantity: Mapped[int]
    packed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
