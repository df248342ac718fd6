import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuer import OnError
from queuer.options import LONGEST
from queuer.retry import next_retry, reconnect_delay


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [("none", [5, 5, 5, None]), ("linear", [5, 10, 15, None]), ("exponential", [5, 10, 20, None])],
)
def test_the_delays_of_the_contract(backoff: str, delays: list[float | None]) -> None:
    on_error = OnError(max_retries=3, retry_delay=5, retry_backoff=backoff)
    assert [next_retry(on_error, failures) for failures in (1, 2, 3, 4)] == delays


def test_without_retries_the_first_failure_is_the_last() -> None:
    assert next_retry(OnError(max_retries=0), 1) is None


@given(st.integers(1, 2**31 - 1), st.floats(0, LONGEST), st.sampled_from(["none", "linear", "exponential"]))
def test_no_delay_overflows(failures: int, delay: float, backoff: str) -> None:
    on_error = OnError(max_retries=2**31 - 1, retry_delay=delay, retry_backoff=backoff)
    assert delay <= (next_retry(on_error, failures) or 0) <= LONGEST


@given(st.integers(1, 10_000))
def test_reconnecting_waits_longer_and_longer_up_to_ten_seconds(tries: int) -> None:
    ceiling = min(10.0, 0.1 * 2.0 ** min(tries - 1, 100))
    assert ceiling / 2 <= reconnect_delay(tries) <= ceiling
