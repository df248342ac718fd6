"""A worker process of its own:  python -m shop.worker"""

import logging

from queuer import new_queuer_with_engine
from shop.database import engine
from shop.tasks import ON_ERROR

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    new_queuer_with_engine("shop worker", 10, engine, ON_ERROR).run()  # until SIGTERM or Ctrl-C
