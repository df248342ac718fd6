from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuer.events import NAMED_AT_MOST, added_channel, ended_channel, read_ended


@given(st.text(min_size=1, max_size=63))
def test_channels_are_valid_names_and_differ_by_schema(schema: str) -> None:
    for channel in (added_channel, ended_channel):
        assert len(channel(schema)) < 64
        assert channel(schema) != channel(schema + "x")
    assert added_channel(schema) != ended_channel(schema)


@given(st.sets(st.uuids(), min_size=1, max_size=NAMED_AT_MOST))
def test_rids_survive_the_notification(rids: set[UUID]) -> None:
    payload = ",".join(map(str, rids))
    assert len(payload) < 2000
    assert read_ended(payload) == rids


@pytest.mark.parametrize("payload", ["", "nonsense", f"{uuid4()},", "\ud800"])
def test_anything_else_means_look_for_all(payload: str) -> None:
    assert read_ended(payload) is None
