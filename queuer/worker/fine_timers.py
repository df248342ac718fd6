"""An event loop whose timers are as exact as the system's.

On Linux asyncio's own waits whole milliseconds, rounded up, since epoll_wait() takes no fractions: a task that sleeps
for 50 ms takes 51, and so long its slot is taken.
"""

import asyncio
import sys

if sys.platform == "linux":
    import select
    import selectors

    #: File descriptors from here on are too large for select(): FD_SETSIZE of the C library.
    TOO_LARGE = 1024

    def new_event_loop() -> asyncio.AbstractEventLoop:
        """What `asyncio.new_event_loop` makes, with exact timers where that is asyncio's own."""
        loop = asyncio.new_event_loop()
        if type(loop) is not asyncio.SelectorEventLoop:  # the application has chosen another, such as uvloop
            return loop
        loop.close()
        return asyncio.SelectorEventLoop(FineSelector())

    class FineSelector(selectors.EpollSelector):
        """Waits by select() for its own epoll, which becomes readable as soon as one of its files is ready."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and timeout > 0 and self.fileno() < TOO_LARGE:
                select.select([self.fileno()], (), (), timeout)
                timeout = 0
            return super().select(timeout)

else:
    new_event_loop = asyncio.new_event_loop
