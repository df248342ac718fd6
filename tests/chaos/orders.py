"""The jobs that producers add, drawn from a seed, and what each may come to. Pure."""

from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any


@dataclass(frozen=True, slots=True)
class Order:
    """A job to be added, and what the checker has to expect of it.

    Args:
        kind: Under which it is counted.
        task, parameters: What is called, with a token before these.
        expects: The status it ends with, if nobody cancels it and not too many workers die under it.
        fewest_failures, most_failures: How many attempts fail then.
        max_retries, timeout: Of its `OnError`; None = it has none.
        start_in: Seconds until it is due; None = it is queued.
        runs: Of its series; 0 = until it is cancelled.
        interval: Seconds from run to run.
        function: The next-interval function that says so.
        writes: Rows that a run writes in the transaction in which it ends.
    """

    kind: str
    task: str
    parameters: tuple[Any, ...] = ()
    expects: str = "SUCCEEDED"
    fewest_failures: int = 0
    most_failures: int = 0
    max_retries: int | None = None
    timeout: float = 0
    start_in: float | None = None
    runs: int = 1
    interval: float | None = None
    writes: int = 0
    function: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Book:
    """An endless row of orders."""

    random: Random = field(default_factory=Random)

    def next(self) -> Order:
        makers = [
            self._quick, self._quick, self._steady, self._steady, self._long, self._flaky, self._doomed,
            self._endless, self._later, self._series, self._series_by_function, self._recurring, self._in_process,
            self._enter,
        ]  # fmt: skip
        weights = [6, 6, 5, 5, 1, 4, 2, 1, 3, 0.4, 0.3, 0.1, 1, 5]
        (maker,) = self.random.choices(makers, weights)
        return maker()

    def quick(self) -> Order:
        return self._quick()

    def _quick(self) -> Order:
        return Order("quick", self.random.choice(["quick", "quick_async"]))

    def _steady(self) -> Order:
        task = self.random.choice(["steady", "steady_async"])
        return Order("steady", task, (round(self.random.uniform(0.05, 1.5), 3),))

    def _long(self) -> Order:
        return Order("long", self.random.choice(["steady", "steady_async"]), (round(self.random.uniform(5, 12), 3),))

    def _flaky(self) -> Order:
        failures = self.random.randint(1, 3)
        return Order("flaky", "flaky", (failures,), most_failures=failures, max_retries=3)

    def _doomed(self) -> Order:
        retries = self.random.randint(0, 2)
        failures = retries + 1
        return Order("doomed", "doomed", (), "FAILED", failures, failures, max_retries=retries)

    def _endless(self) -> Order:
        task = self.random.choice(["steady", "steady_async", "in_process"])
        return Order("endless", task, (60,), "FAILED", 2, 2, max_retries=1, timeout=0.4)

    def _later(self) -> Order:
        return Order("later", "quick", start_in=round(self.random.uniform(0.5, 8), 3))

    def _series(self) -> Order:
        return Order("series", "quick", runs=self.random.randint(2, 6), interval=self.random.choice([0.5, 1.0, 1.5]))

    def _series_by_function(self) -> Order:
        return Order("function", "quick", runs=self.random.randint(2, 6), interval=1.0, function="a_second_later")

    def _recurring(self) -> Order:
        return Order("recurring", "quick", start_in=0.5, runs=0, interval=self.random.choice([1.0, 2.0]))

    def _enter(self) -> Order:
        seconds = self.random.choice([0, round(self.random.uniform(0.05, 3), 3)])
        return Order("enter", self.random.choice(["enter", "enter_async"]), (seconds,), writes=1)

    def _in_process(self) -> Order:
        return Order("process", "in_process", (round(self.random.uniform(0.05, 1), 3),))
