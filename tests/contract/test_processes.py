"""The contract's "Lifecycle" where it takes more than one process, on the public API alone."""

import signal
from typing import Any

import pytest
from support.contract import ended, eventually, line, process

from queuer import DatabaseConfiguration, JobStatus, MasterSettings, Queuer, WorkerStatus

ENDLESS = """
q = new_queuer_with_db("runner", 2, "", config)
@q.task
def endless():
    say("entered")
    while True:
        pass
gate = threading.Event()
@q.task
def patient():
    say("entered")
    while not gate.wait(0.005):
        pass
    return "done"
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_blocks_until_a_signal_and_then_stops(q: Queuer, config: DatabaseConfiguration, number: int) -> None:
    body = """
q.add_job(patient)
def open_gate():
    sys.stdin.readline()
    gate.set()
threading.Thread(target=open_gate, daemon=True).start()
before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
q.run()
assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
say("returned")
"""
    with process(config, ENDLESS + body) as child:
        assert line(child) == "entered"
        (job,) = q.get_jobs()
        child.send_signal(number)
        assert job.worker_rid is not None
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
        assert line(child) == "returned"
        assert child.wait(10) == 0
    assert q.get_job_ended(job.rid).result == "done"
    assert q.get_worker(job.worker_rid).status is WorkerStatus.STOPPED


def test_a_second_signal_stops_at_once_and_the_jobs_are_queued_again(q: Queuer, config: DatabaseConfiguration) -> None:
    with process(config, ENDLESS + 'q.add_job(endless); q.run(); say("returned")') as child:
        assert line(child) == "entered"
        child.send_signal(signal.SIGTERM)
        (job,) = q.get_jobs()
        assert job.worker_rid is not None
        child.send_signal(signal.SIGINT)
        while child.poll() is None:  # two signals that come as one count as one
            child.send_signal(signal.SIGINT)
            try:
                child.wait(0.2)
            except Exception:  # noqa: BLE001 - it is not there yet
                continue
    queued = q.get_job(job.rid)
    assert (queued.status, queued.attempts, queued.failures) == (JobStatus.QUEUED, 1, [])


def test_run_takes_a_queuer_that_runs_already(q: Queuer, config: DatabaseConfiguration) -> None:
    body = """
q.start()
def tell():
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        pass
    say("handled")
threading.Thread(target=tell).start()
q.run()
say("returned")
"""
    with process(config, ENDLESS + body) as child:
        assert line(child) == "handled"
        child.send_signal(signal.SIGTERM)
        assert line(child) == "returned"
        assert child.wait(10) == 0


def test_a_fork_is_told_to_make_its_own_queuer_and_harms_nothing(q: Queuer, config: DatabaseConfiguration) -> None:
    body = """
q.start()
job = q.add_job(patient)
q.wait_for_job_finished(job.rid, 0)
q.listen_for_job_insert(print)
sys.stdout.flush()
sys.stdin.readline()
child = os.fork()
if child == 0:
    import asyncio
    static_calls = {
        "add_job": lambda: q.add_job("task"),
        "add_jobs": lambda: q.add_jobs([BatchJob("task")]),
        "get_jobs": q.get_jobs,
        "wait": lambda: q.wait_for_job_finished(job.rid, 1),
        "wait_added": lambda: q.wait_for_job_added(1),
        "listen": lambda: q.listen_for_job_delete(print),
        "cancel": lambda: q.cancel_job(job.rid),
        "start": q.start,
        "stop": q.stop,
        "add_task": lambda: q.add_task_with_name(print, "more"),
        "async": lambda: asyncio.run(q.add_job_async("task")),
        "wait_async": lambda: asyncio.run(q.wait_for_job_finished_async(job.rid, 1)),
    }
    for name, call in static_calls.items():
        try:
            call()
        except QueuerError as error:
            if "made before a fork" not in str(error) or "make one in each process" not in str(error):
                say(f"{name}: {error!r}")
        else:
            say(f"{name} went through")
    sys.exit(0)  # with its atexit handlers
_, status = os.waitpid(child, 0)
say(f"child {status}")
say(q.get_job(job.rid).status.value)
gate.set()
say(q.wait_for_job_finished(job.rid, 10).result)
q.stop()
"""
    with process(config, ENDLESS + body) as child:
        assert line(child) == "entered"
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
        assert line(child) == "child 0"
        assert line(child) == "RUNNING"
        assert line(child) == "done"
        assert child.wait(10) == 0
    (job,) = q.get_jobs_ended()
    assert (job.status, job.attempts) == (JobStatus.SUCCEEDED, 1)


def test_a_queuer_made_after_a_fork_works(q: Queuer, config: DatabaseConfiguration) -> None:
    body = """
q.start()
q.stop()
child = os.fork()
if child == 0:
    mine = new_queuer_with_db("child", 1, "", config)
    mine.add_task_with_name(lambda: "done", "task")
    with mine:
        say(mine.wait_for_job_finished(mine.add_job("task").rid, 10).result)
    os._exit(0)
os.waitpid(child, 0)
"""
    with process(config, ENDLESS + body) as child:
        assert line(child) == "done"
        assert child.wait(10) == 0


SMALL = MasterSettings(worker_stale_after=2, master_poll_interval=0.1, lock_timeout_minutes=0.03)


def test_the_jobs_of_a_killed_worker_are_run_by_another_which_takes_its_office_too(
    make_queuer: Any, config: DatabaseConfiguration
) -> None:
    other = make_queuer()
    with process(config, ENDLESS + f"q.start({SMALL!r}); q.add_job(patient); signal.pause()") as child:
        assert line(child) == "entered"
        (job,) = other.get_jobs()
        other.start(SMALL)
        eventually(lambda: other.get_master().worker_rid == job.worker_rid)
        child.kill()
        child.wait()
    other.add_task_with_name(lambda: "rescued", "patient")
    done = ended(other, job, timeout=20)
    assert (done.result, done.attempts, done.losses, done.failures) == ("rescued", 2, 1, [])
    assert other.get_worker(job.worker_rid).status is WorkerStatus.STOPPED
    assert other.get_master().worker_rid == other.get_current_worker_rid()
