"""What a run came to, in words."""

from collections import Counter
from pathlib import Path

from chaos.checker import Violation
from chaos.facts import Facts
from chaos.journal import read

#: Violations of one check that are printed.
MOST_SHOWN = 10


def report(facts: Facts, violations: list[Violation], directory: Path) -> str:
    """A page of it."""
    lines = [*_jobs(facts), *_faults(directory), ""]
    by_check = Counter(violation.check for violation in violations)
    for check, count in by_check.items():
        lines.append(f"BROKEN: {check}, {count} times")
        shown = [violation.what for violation in violations if violation.check == check]
        lines += [f"    {what}" for what in shown[:MOST_SHOWN]]
    lost = by_check["none lost"]
    doubled = by_check["archived exactly once"] + by_check["none added twice"] + by_check["each attempt once"]
    lines.append(f"{lost} lost, {doubled} doubled, {len(violations)} violations in all")
    return "\n".join(lines)


def _jobs(facts: Facts) -> list[str]:
    added = [promise for promise in facts.promises if promise.rid is not None]
    kinds = Counter(promise.order["kind"] for promise in added)
    statuses = Counter(row.status for row in facts.archive)
    losses = Counter(row.losses for row in facts.archive if row.losses)
    fenced = sum(run.how is not None for run in facts.runs) - sum(len(r.failures) for r in facts.archive)
    fenced -= statuses["SUCCEEDED"]
    return [
        f"jobs added: {len(added)} ({_counts(kinds)})",
        f"adds that raised or whose producer died: {len(facts.promises) - len(added)}",
        f"jobs ended: {len(facts.archive)} ({_counts(statuses)})",
        f"attempts begun: {len(facts.runs)}; ended without counting: {fenced}; outcomes dropped: {len(facts.dropped)}",
        f"jobs under which workers died once, twice, …: {_counts(losses) or 'none'}",
        f"workers: {len(facts.workers)}",
    ]


def _faults(directory: Path) -> list[str]:
    faults = Counter(entry["kind"] for entry in read(directory, "conductor") if entry["event"] == "fault")
    cancels = Counter(entry["event"] for entry in read(directory, "producers"))
    return [
        f"faults: {sum(faults.values())} ({_counts(faults)})",
        f"cancelled by producers: {cancels['cancelled']}, perhaps: {cancels['perhaps cancelled']}",
    ]


def _counts(counts: Counter[str] | Counter[int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
