"""`python -m chaos --seed 7 --duration 60`: one run. Exit code 1 when a promise was broken."""

import argparse
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from random import SystemRandom
from tempfile import mkdtemp
from time import monotonic

from support import own_server
from support.proxy import Proxy

from chaos import checker, facts, logs, plan
from chaos.conductor import Conductor, fleet_of, queuer_past_the_proxy
from chaos.faults import World
from chaos.journal import Journal
from chaos.report import report


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description="Breaks everything, and proves that nothing was lost.")
    parser.add_argument("--seed", type=int, help="repeats the plan of an earlier run; a fresh one by default")
    parser.add_argument("--duration", type=float, default=480.0, help="seconds in which things break")
    parser.add_argument("--plan", action="store_true", help="only print what would break, and when")
    given = parser.parse_args()
    seed = SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    steps = plan.draw(seed, given.duration)
    if given.plan:
        print("\n".join(f"{step.at:8.3f} s  {step.kind}  for {step.seconds:g} s" for step in steps))
        return 0
    print(f"chaos: seed {seed}, {given.duration:g} s, {len(steps)} faults planned", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that all that was started ends
    directory = Path(mkdtemp(prefix=f"queuer-chaos-{seed}-"))
    if run(seed, given.duration, steps, directory):
        print(f"FAILED; again with: make chaos SEED={seed} DURATION={given.duration:g}. Journals and logs: {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


def run(seed: int, duration: float, steps: list[plan.Step], directory: Path) -> int:
    """Runs it, prints the report, and returns the number of violations."""
    journal = Journal(directory, "conductor")
    with own_server.running() as postgres:
        direct = queuer_past_the_proxy(postgres)
        proxy = Proxy(postgres.config)
        fleet = fleet_of(postgres, proxy.port, directory, seed, journal)
        conductor = Conductor(World(postgres, proxy, fleet, direct), journal)
        try:
            conductor.conduct(steps, duration)
            begun_at = monotonic()
            conductor.drain()
            drained = monotonic() - begun_at
            conductor.dismiss()
        finally:
            fleet.disband()
        direct.stop()
        proxy.close()
        with postgres.connect() as connection:
            found = facts.gather(connection, directory)
        shutil.copy(postgres.log, directory / "server.log")
    found = replace(found, dropped=logs.dropped(directory), trouble=logs.trouble(directory))
    violations = checker.check(found)
    print(report(found, violations, directory))
    print(f"the jobs that were left ended within {drained:.1f} s", flush=True)
    return len(violations)


sys.exit(main())
