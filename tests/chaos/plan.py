"""What breaks, and when: drawn from a seed, before anything runs. Pure."""

from dataclasses import dataclass
from random import Random

#: Seconds between two faults, on average. Several are under way at once.
MEAN_PAUSE = 1.6

#: How long each kind of fault lasts, in seconds: at least, at most. Workers count as dead after two.
LASTING = {
    "kill": (0, 0),
    "kill_master": (0, 0),
    "kill_producer": (0, 0),
    "pause": (2.5, 6),
    "terminate": (0, 0),
    "ask_to_stop": (0, 0),
    "terminate_backends": (0, 0),
    "restart": (0, 0),
    "delay": (2, 6),
    "cut": (0, 0),
    "refuse": (1, 4),
    "black_hole": (2, 8),
    "lose_answers": (0.5, 2),
    "fill_connections": (2, 6),
    "slow_disk": (3, 8),
    "long_transaction": (5, 15),
    "lock_rows": (1, 5),
    "lock_table": (0.5, 4),
    "jump_clock": (0, 0),
}

#: What comes more often than once in each deck.
FREQUENT = ("kill", "pause", "terminate", "terminate_backends", "lose_answers", "jump_clock")


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: begins `at` seconds after the start, lasts for `seconds`.

    Args:
        pick: 0 to 1, for whatever has to be chosen when it happens: which worker, how much.
    """

    at: float
    kind: str
    seconds: float
    pick: float


def draw(seed: int, duration: float) -> list[Step]:
    """The faults of `duration` seconds: always the same for the same seed.

    Kinds come from a shuffled deck, and from another when it is used up, so that none is left out.
    """
    random = Random(seed)
    steps: list[Step] = []
    deck: list[str] = []
    at = random.uniform(1, 2)
    while at < duration:
        if not deck:
            deck = [*LASTING, *FREQUENT]
            random.shuffle(deck)
        kind = deck.pop()
        seconds = min(random.uniform(*LASTING[kind]), duration - at)
        steps.append(Step(round(at, 3), kind, round(seconds, 3), random.random()))
        at += random.expovariate(1 / MEAN_PAUSE)
    return steps
