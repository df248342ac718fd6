"""Fingerprints every file of a directory, as jobs on two worker processes.

    python examples/quickstart.py [DIRECTORY]      (by default: Python's own standard library)

Where the database is comes from the QUEUER_DB_* variables; without them an embedded PostgreSQL is used.
"""

import hashlib
import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import queuer
from queuer import BatchJob, JobArchive, OnError, Options, Queuer, Schedule, current_job, new_queuer

WORKERS = 2


# -- The tasks: plain functions.


@queuer.task
def fingerprint(path: str) -> dict[str, str | int]:
    """What a file contains, in three figures."""
    content = Path(path).read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "lines": content.count(b"\n")}


@queuer.task
async def flaky() -> str:
    """Works at the third attempt, as things in the real world do."""
    attempt = current_job().attempt
    if attempt < 3:
        raise ConnectionError(f"attempt {attempt} found nobody at home")
    return f"worked at attempt {attempt}"


@queuer.task
def remind(text: str) -> str:
    return text


# -- The worker processes.


def work() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with new_queuer("quickstart worker", 10):
        signal.pause()


# -- The process that adds the jobs, and shows what became of them.


def main(directory: Path) -> None:
    ignored = {"site-packages", "__pycache__", ".git"}
    if not directory.is_dir():
        sys.exit(f"{directory} is not a directory; give one, or nothing")
    paths = sorted(str(path) for path in directory.rglob("*") if path.is_file() and not ignored & set(path.parts))
    q = new_queuer("quickstart", 1)
    workers = [subprocess.Popen([sys.executable, __file__, "--work"]) for _ in range(WORKERS)]
    try:
        files = show_rate(q, paths)
        others = run_others(q)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
        q.stop()
    show_table(directory, files, others)


def show_rate(q: Queuer, paths: list[str]) -> list[JobArchive]:
    q.wait_for_job_finished(q.add_job(remind, "the workers are ready").rid)
    rids = q.add_jobs(BatchJob(fingerprint, [path]) for path in paths)
    if not rids:
        sys.exit("the directory has no files")
    files = [job for rid in rids if (job := q.wait_for_job_finished(rid, timeout_seconds=120))]
    took = max(job.ended_at for job in files) - min(job.started_at or job.ended_at for job in files)
    rate = len(files) / took.total_seconds()
    seconds = took.total_seconds()
    print(f"\n{len(files)} files on {WORKERS} worker processes in {seconds:.2f} s: {rate:,.0f} jobs a second")
    return files


def run_others(q: Queuer) -> dict[str, JobArchive | None]:
    retried = Options(on_error=OnError(max_retries=3, retry_delay=0.1, retry_backoff="exponential"))
    in_a_second = Options(schedule=Schedule(start=datetime.now(UTC) + timedelta(seconds=1)))
    jobs = {
        "retried": q.add_job_with_options(retried, flaky),
        "scheduled": q.add_job_with_options(in_a_second, remind, "a second has passed"),
        "failing": q.add_job(fingerprint, os.fspath(Path("/no/such/file"))),
    }
    return {name: q.wait_for_job_finished(job.rid) for name, job in jobs.items()}


# -- A table.

LINE = "{:<44.44} {:<10} {:>8} {:>10} {:>7}  {}"


def show_table(directory: Path, files: list[JobArchive], others: dict[str, JobArchive | None], shown: int = 10) -> None:
    print("\n" + LINE.format("file", "status", "attempts", "bytes", "lines", "sha256"))
    for job in files[:shown]:
        path, result = Path(job.parameters[0]).relative_to(directory), job.result or {}
        figures = (result.get("bytes", ""), result.get("lines", ""), str(result.get("sha256", job.error))[:16])
        print(LINE.format(str(path), job.status, job.attempts, *figures))
    if len(files) > shown:
        counts = ", ".join(f"{count} {status}" for status, count in Counter(job.status for job in files).items())
        print(LINE.format(f"… and {len(files) - shown} more", "", "", "", "", f"in all: {counts}"))
    print("\n" + LINE.format("other jobs", "status", "attempts", "", "", "outcome"))
    for name, other in others.items():
        if other is None:
            print(LINE.format(name, "waiting", "", "", "", ""))
        else:
            print(LINE.format(name, other.status, other.attempts, "", "", other.error or other.result))


if __name__ == "__main__":
    if sys.argv[1:] == ["--work"]:
        work()
    else:
        main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(os.__file__).parent)
