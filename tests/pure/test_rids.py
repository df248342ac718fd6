from uuid import RFC_4122, UUID

from queuer.rids import AT_ONCE, new_rid, new_rids


def many() -> list[UUID]:
    return [rid for _ in range(40) for rid in new_rids(AT_ONCE)]


def test_a_rid_is_a_uuid_of_version_7_like_any_other() -> None:
    for rid in (new_rid(), *new_rids(2)):
        assert (rid.version, rid.variant) == (7, RFC_4122)
        assert rid == UUID(str(rid))
        assert hash(rid) == hash(UUID(bytes=rid.bytes))


def test_no_two_are_the_same() -> None:
    rids = many()
    assert len({*rids, new_rid(), new_rid()}) == len(rids) + 2


def test_each_is_greater_than_the_one_before() -> None:
    rids = many()
    assert rids == sorted(rids)
    first = new_rid()
    later = first
    while later.int >> 64 == first.int >> 64:  # within the 244 ns of one reading of the clock their order is chance
        later = new_rid()
    assert later > first
