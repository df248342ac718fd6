import threading
from math import inf

from support.bench import Bench
from support.contract import eventually

from queuer.values import Beat
from queuer.worker.heartbeat import Heartbeat
from queuer.worker.reporter import Reporter


def test_what_is_silent_now_has_not_been_heard_for_any_time(bench: Bench) -> None:
    """While its own beats do not get through, a master can't tell whether others are silent."""
    beats, go_on = threading.Semaphore(0), threading.Event()

    def beat() -> Beat:
        beats.release()
        if not go_on.is_set():
            return Beat(None, 0.4)
        go_on.clear()
        beats.release()
        assert go_on.wait(10)
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
    beats.acquire(timeout=10)
    assert heartbeat.heard_for == inf
    go_on.set()  # the next beat is held up
    for _ in range(2):
        beats.acquire(timeout=10)
    eventually(lambda: heartbeat.heard_for == 0)
    go_on.set()
    beats.acquire(timeout=10)
    eventually(lambda: 0 < heartbeat.heard_for < inf)
    heartbeat.stop()
