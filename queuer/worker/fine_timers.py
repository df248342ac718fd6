"""An event loop whose timers are as exact as the system's.

On Linux asyncio's own waits whole milliseconds, rounded up, since epoll_wait() takes no fractions: a task that sleeps
for 50 ms takes 51, and so long its slot is taken.
"""

import asyncio
import select
import selectors

#: File descriptors from here on are too large for select(): FD_SETSIZE of the C library.
TOO_LARGE = 1024

if hasattr(selectors, "EpollSelector"):

    class FineSelector(selectors.EpollSelector):
        """Waits by select() for its own epoll, which becomes readable as soon as one of its files is ready."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and timeout > 0 and self.fileno() < TOO_LARGE:
                select.select([self.fileno()], (), (), timeout)
                timeout = 0
            return super().select(timeout)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """What `asyncio.new_event_loop` makes, with exact timers where it waits by epoll.

    The loop stays the one that the application's policy has made, with all that it has set there. Others than asyncio's
    own, such as uvloop's, wait in their own way.
    """
    loop = asyncio.new_event_loop()
    selector = getattr(loop, "_selector", None)
    if type(selector) is getattr(selectors, "EpollSelector", None):
        selector.__class__ = FineSelector
    return loop
