"""What all sides of the benchmark do alike. Jobs leave marks in a file, so that nobody asks the database meanwhile."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOST, PORT, DB = "localhost", 5432, "unused"  # QUEUER_DB_* say where the database is
SLEEP = 0.05
WARM = 50

_open: dict[int, int] = {}  # the file, by process


def _file() -> int:
    if os.getpid() not in _open:
        path = os.environ["BENCH_COUNT_FILE"]
        _open[os.getpid()] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        Path(f"{path}.start.{os.getpid()}").write_text(repr(time.time()))
    return _open[os.getpid()]


def mark_start() -> None:
    """For jobs that do something before their mark: the first start of the process counts."""
    _file()


def mark(_number: int) -> None:
    os.write(_file(), b"x")


def mark_latency(number: int) -> None:
    now = time.time()
    os.write(_file(), b"%d %.6f\n" % (number, now))


def time_single(add: Callable[[int], object], count: int) -> float:
    for number in range(WARM):
        add(number)
    began = time.perf_counter()
    for number in range(count):
        add(number)
    return time.perf_counter() - began


def pace(add: Callable[[int], object], count: int, interval: float) -> list[list[float]]:
    """Adds one job every `interval` seconds. Returns when each add began."""
    sent, at = [], time.time()
    for number in range(count):
        time.sleep(max(0.0, at - time.time()))
        at += interval
        sent.append([number, time.time()])
        add(number)
    return sent


def time_each(look_up: Callable[[str], object], ids: list[str]) -> list[float]:
    taken = []
    for id in ids:
        began = time.perf_counter()
        look_up(id)
        taken.append(time.perf_counter() - began)
    return taken


def conf(text: str) -> dict[str, int]:
    """`c=10,async=1` as a dict."""
    return {name: int(value) for name, _, value in (part.partition("=") for part in text.split(",") if part)}


def resident(field: str) -> float:
    """VmRSS or VmHWM of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def main(side: dict[str, Any]) -> None:
    """Does one step, and prints what it measured as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("step")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--kind", default="noop")
    parser.add_argument("--config", default="")
    parser.add_argument("--interval", type=float, default=0.02)
    given = parser.parse_args()
    before = resident("VmRSS")
    match given.step:
        case "worker":
            side["worker"](given.kind, given.config)
            return
        case "info":
            measured: dict[str, Any] = side["INFO"]
        case "setup":
            side["setup"]()
            measured = {}
        case "single":
            measured = {"seconds": side["single"](given.n)}
        case "bulk":
            measured = {"seconds": side["bulk"](given.n, given.kind)}
            measured |= {"base_mb": before, "peak_mb": resident("VmHWM")}
        case "produce":
            measured = {"sent": side["produce"](given.n, given.interval)}
        case "get":
            measured = {"ms": [1000 * seconds for seconds in side["get"](given.config.split(","))]}
        case unknown:
            sys.exit(f"no such step: {unknown}")
    print(json.dumps(measured), flush=True)
