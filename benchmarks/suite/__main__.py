"""The queue next to plain SQL, on one server in one run: `make bench`.

Figures of two runs can't be compared, since machines are never as busy as a minute ago; ratios of one run can. So each
repetition measures both sides in turn, and the table shows the ratios of the medians.
"""

import argparse
import statistics
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import growth
import report
import workloads
from report import Row
from sides import Side

from queuer import default_configuration

HERE = Path(__file__).parent

COMPARED = {
    "W1": ("`add_job`, one after another", 0.80),
    "W2": ("`add_jobs`", 0.60),
    "W3": ("drain of no-op jobs, one worker process", 0.85),
    "W3 default": ("the same with `max_concurrency=10`, the floor ten at a time", 0.90),
    "W3b": ("drain by two worker processes", 0.85),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="workloads, with commas: W1,G4")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000, help="in the way, in G1 to G3, and added in G8")
    parser.add_argument("--archived", type=int, default=5_000_000, help="ended jobs in G5")
    parser.add_argument("--picture", type=Path, default=Path("growth.svg"))
    given = parser.parse_args()
    config = default_configuration()
    with tempfile.TemporaryDirectory() as folder:
        ours = Side("queuer", HERE.parent / "p_queuer.py", config, Path(folder))
        floor = Side("floor", HERE / "plain_sql.py", config, Path(folder))
        wanted = given.only.split(",") if given.only else None
        failed: list[str] = []
        rows, curves = measure(ours, floor, given, wanted, failed)
    print(report.table(rows))
    if failed:
        print(f"\nCould not be measured, see above: {', '.join(dict.fromkeys(failed))}")
    if curves:
        report.picture(curves, given.picture)
        print(f"\nThe curves of growth are in {given.picture}.")
    sys.exit(bool(failed) or any(row.is_met is False for row in rows))


@contextmanager
def going_on(workload: str, failed: list[str]) -> Iterator[None]:
    """Lets one workload that can't be measured take nothing from the others: together they take half an hour."""
    try:
        yield
    except Exception:  # noqa: BLE001 - whatever it is, it is printed
        traceback.print_exc()
        failed.append(workload)


def measure(
    ours: Side, floor: Side, given: argparse.Namespace, wanted: list[str] | None, failed: list[str]
) -> tuple[list[Row], dict[str, dict[str, Any]]]:
    def is_wanted(workload: str) -> bool:
        return wanted is None or workload in wanted

    both: dict[str, list[list[Any]]] = {}
    for _ in range(given.repetitions):
        for workload in filter(is_wanted, [*COMPARED, "W4", "W5"]):
            measured = both.setdefault(workload, [[], []])
            with going_on(workload, failed):
                for side, values in zip((ours, floor), measured, strict=True):
                    values.append(workloads.MEASURE[workload](side))
                    print(f"{workload} {side.name}: {values[-1]}", file=sys.stderr)
    rows = [row for workload, values in both.items() if all(values) for row in compared(workload, *values)]
    curves = {}
    for workload in filter(is_wanted, ("G1", "G2", "G3", "G4")):
        is_held = workload == "G4"
        with going_on(workload, failed):
            runs = [
                growth.held_snapshot(ours) if is_held else growth.crowded(ours, workload, given.rows)
                for _ in range(given.repetitions)
            ]
            run = sorted(runs, key=lambda each: each["ratio"])[len(runs) // 2]
            print(f"{workload}: {run}", file=sys.stderr)
            curves[workload] = run
            rows += of_growth(workload, run)
    return rows + alone(ours, given, is_wanted, failed), curves


def compared(workload: str, ours: list[Any], floors: list[Any]) -> list[Row]:
    if workload == "W4":
        median = {
            name: [statistics.median(v[name] for v in side) for side in (ours, floors)] for name in ("p50", "p99")
        }
        return [
            report.limited("W4", f"start on an idle worker, {name}", f"{a:.2f} ms, floor {b:.2f} ms", a / b, limit, "x")
            for (name, (a, b)), limit in zip(median.items(), (1.3, 2.0), strict=True)
        ]
    a, b = statistics.median(ours), statistics.median(floors)
    if workload == "W5":
        return [
            report.at_least("W5", "50 ms jobs in 100 slots, of 2000/s", f"{a:,.0f}/s, floor {b:,.0f}/s", a / 2000, 0.97)
        ]
    what, target = COMPARED[workload]
    return [report.compared(workload, what, a, b, target)]


def of_growth(workload: str, run: dict[str, Any]) -> list[Row]:
    what = {
        "G1": "1,000,000 more wait behind",
        "G2": "1,000,000 of foreign tasks ahead",
        "G3": "1,000,000 for tomorrow",
        "G4": "a snapshot held all the while",
    }[workload]
    rows = [report.at_least(workload, what, "of the clean run", run["ratio"], 0.8 if workload == "G4" else 0.9)]
    if workload == "G4":
        rows.append(report.at_least("G4", "the last tenth of it", "of the clean run's", run["last tenth"], 0.8))
    return rows


def alone(ours: Side, given: argparse.Namespace, is_wanted: Callable[[str], bool], failed: list[str]) -> list[Row]:
    rows: list[Row] = []
    for workload, measured in {"G5": archive, "G6": idle, "G7": worker_memory, "G8": producer_memory}.items():
        if is_wanted(workload):
            with going_on(workload, failed):
                rows += measured(ours, given)
    return rows


def archive(ours: Side, given: argparse.Namespace) -> list[Row]:
    found = growth.archive(ours, given.archived)
    said = " → ".join(f"{ms:.2f} ms" for ms in found["ms"].values())
    return [report.limited("G5", f"`get_job_ended` among {given.archived:,}", said, found["ratio"], 1.5, "x")]


def idle(ours: Side, _given: argparse.Namespace) -> list[Row]:
    found = growth.idle(ours)
    return [
        report.limited("G6", "idle: statements a second", "", found["statements/s"], 1, ""),
        report.limited("G6", "idle: of a core", "", 100 * found["cores"], 1, " %"),
        report.limited("G6", "idle: connections", "", found["connections"], 3, ""),
    ]


def worker_memory(ours: Side, _given: argparse.Namespace) -> list[Row]:
    found = growth.worker_memory(ours)
    said = f"{found['after a fifth']:.0f} → {found['after all']:.0f} MB"
    return [report.limited("G7", "memory of a worker", said, found["peak"], 90, " MB")]


def producer_memory(ours: Side, given: argparse.Namespace) -> list[Row]:
    grown = growth.producer_memory(ours, given.rows)["growth"]
    return [report.limited("G8", f"a producer of {given.rows:,} jobs grows", "", grown, 20, " MB")]


if __name__ == "__main__":
    main()
