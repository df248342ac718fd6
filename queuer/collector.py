"""Python's garbage collector in a process that is the worker's own."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# The collector looks at those objects alone that hold others. A job has two while it runs, and more for a moment.
_OBJECTS_OF_A_JOB = 5

# Garbage is left for longer then, and may be large: with more, a worker takes more than 90 MB.
_MOST_OBJECTS = 5_000


@contextmanager
def tuned(max_concurrency: int) -> Iterator[None]:
    """Spares the collector what it would look through in vain: what was loaded, and the jobs that run.

    By default it looks for garbage whenever 700 objects have come to be, which is what three hundred jobs keep.
    """
    before = gc.get_threshold()
    gc.freeze()
    if before[0] > 0:  # else somebody has turned it off
        gc.set_threshold(max(before[0], min(_OBJECTS_OF_A_JOB * max_concurrency, _MOST_OBJECTS)), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
