import threading
from math import inf

from support.bench import Bench
from support.contract import eventually

from queuer.values import Beat
from queuer.worker.heartbeat import Heartbeat
from queuer.worker.reporter import Reporter


def test_what_is_silent_now_has_not_been_heard_for_any_time(bench: Bench) -> None:
    """While its own beats do not get through, a master can't tell whether others are silent."""
    beaten = threading.Semaphore(0)
    held_up, go_on = threading.Event(), threading.Event()

    def beat() -> Beat:
        if held_up.is_set():
            assert go_on.wait(10)
        beaten.release()
        return Beat(None, 0.4)

    heartbeat = Heartbeat(
        bench.runner,
        Reporter(lambda _: None, lambda: None),
        beat=beat,
        held=list,
        give_back=lambda _: None,
        asked=lambda _: None,
    )
    assert heartbeat.heard_for == inf
    heartbeat.start()
    beaten.acquire(timeout=10)
    assert heartbeat.heard_for == inf
    held_up.set()
    eventually(lambda: heartbeat.heard_for == 0)
    go_on.set()
    eventually(lambda: 0 < heartbeat.heard_for < inf)
    heartbeat.stop()
