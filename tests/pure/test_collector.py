import gc
from collections.abc import Iterator

import pytest

from queuer import collector


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.parametrize(
    ("before", "max_concurrency", "then"),
    [(700, 10, 700), (700, 200, 1000), (700, 2**31 - 1, 5000), (50_000, 1000, 50_000), (0, 1000, 0)],
)
def test_it_looks_when_as_much_has_come_to_be_as_the_jobs_that_run_have(
    before: int, max_concurrency: int, then: int
) -> None:
    gc.set_threshold(before, 10, 10)
    with collector.tuned(max_concurrency):
        assert gc.get_threshold() == (then, 10, 10)
        assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == (before, 10, 10)
