from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuer import events
from queuer.events import MOST_IN_RANGE, NAMED_AT_MOST, read_ids, read_rids

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


@given(st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=NAMED_AT_MOST))
def test_ids_survive_the_notification(ids: list[int]) -> None:
    assert list(read_ids(",".join(map(str, ids)))) == ids


@given(st.text(max_size=50) | st.from_regex(r"\A[-0-9,]{0,50}\Z"))
def test_whatever_anybody_notifies_it_names_few_things_that_can_be_looked_up(payload: str) -> None:
    ids = read_ids(payload)
    assert len(ids) <= MOST_IN_RANGE
    assert all(0 < id < 2**63 for id in ids[:1000])
    assert len(read_rids(payload)) <= 2


def test_many_ids_are_a_range() -> None:
    assert list(read_ids("5-8")) == [5, 6, 7, 8]


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
        "\u0661",
    ],
)
def test_anything_else_names_nothing(payload: str) -> None:
    assert read_rids(payload) == set()
    assert list(read_ids(payload)) == []
