from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuer import events
from queuer.events import MOST_IN_RANGE, NAMED_AT_MOST, NOBODY_KNOWS, Added, read_added, read_rids

KINDS = (events.added, events.updated, events.ended, events.steering)


@given(st.text(min_size=1, max_size=63))
def test_channels_are_valid_names_and_differ_by_schema_and_kind(schema: str) -> None:
    channels = [of(name) for of in KINDS for name in (schema, schema + "x")]
    assert len({channel.name for channel in channels}) == len({channel.key for channel in channels}) == len(channels)
    assert all(len(channel.name) < 64 and -(2**63) <= channel.key < 2**63 for channel in channels)


@given(st.sets(st.uuids(), min_size=1, max_size=NAMED_AT_MOST))
def test_rids_survive_the_notification(rids: set[UUID]) -> None:
    payload = ",".join(map(str, rids))
    assert len(payload) < 2000
    assert read_rids(payload) == rids


@given(st.integers(1, 2**63 - 1), st.sets(st.uuids(), min_size=1, max_size=NAMED_AT_MOST))
def test_a_few_added_jobs_survive_the_notification(first: int, rids: set[UUID]) -> None:
    assert read_added(f"{first}:{','.join(map(str, rids))}") == Added(range(first, first + 1), rids)


@given(st.text(max_size=50) | st.from_regex(r"\A[-0-9,:]{0,50}\Z"))
def test_whatever_anybody_notifies_it_names_few_things_that_can_be_looked_up(payload: str) -> None:
    added = read_added(payload)
    assert len(added.ids) <= MOST_IN_RANGE
    assert all(0 < id < 2**63 for id in added.ids[:1000])
    assert len(added.rids) <= 2
    assert len(read_rids(payload)) <= 2


def test_many_added_jobs_are_a_range() -> None:
    assert read_added("5-8") == Added(range(5, 9))


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "nonsense",
        "00000000-0000-4000-8000-000000000000,",
        "\ud800",
        "1-",
        "-",
        "1-99999999999999999999",
        "8-5",
        "9223372036854775808",
        "-1",
        "0",
        "0-1",
        "1_0",
        "5",
        "5:",
        "5:6",
        "5,6",
        "9223372036854775808:00000000-0000-4000-8000-000000000000",
        "\u0661",
    ],
)
def test_anything_else_names_nothing(payload: str) -> None:
    assert read_rids(payload) == set()
    assert read_added(payload) == NOBODY_KNOWS
