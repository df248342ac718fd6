import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuer import InvalidParameters
from queuer.payload import call_arguments, check, encode, readable

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


@given(values)
def test_what_json_can_hold_reads_back_equal(value: object) -> None:
    assert json.loads(encode(value, "results")) == value


def test_a_tuple_becomes_a_list() -> None:
    assert encode((1, (2,)), "results") == "[1,[2]]"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({1, 2}, r"p is of type set, which JSON can't hold; a set has no JSON form: pass a list"),
        ([b"x"], r"p\[0\] is of type bytes.*base64"),
        ({"a": [0, object()]}, r"p\['a'\]\[1\] is of type object"),
        ({"a": float("nan")}, r"p\['a'\] is nan; JSON allows finite numbers"),
        ([float("-inf")], r"p\[0\] is -inf"),
        ("a\0b", r"p has a NUL character"),
        (["ok", "\ud800"], r"p\[1\] has the lone surrogate \\ud800"),
        ({"k\0": 1}, r"the key 'k\\x00' in p has a NUL"),
        ({1: "a"}, r"p has a key of type int; JSON allows keys of type str only: write str\(key\)"),
        (1 + 2j, r"p is of type complex"),
    ],
)
def test_what_jsonb_refuses_is_refused_with_its_path(value: object, says: str) -> None:
    with pytest.raises(InvalidParameters, match=says):
        check(value, "p")


def test_a_number_too_long_to_be_read_back_is_refused() -> None:
    check(10**4299, "p")
    with pytest.raises(InvalidParameters, match="p has more than 4300 digits"):
        check(10**4300, "p")


def test_what_contains_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(InvalidParameters, match="nested deeper than 100 levels, or contains itself"):
        check(endless, "p")


@given(st.text())
def test_readable_text_is_always_fit_for_postgresql(text: str) -> None:
    fit = readable(text)
    assert "\0" not in fit
    assert fit.encode().decode() == fit
    if re.fullmatch(r"[^\0\ud800-\udfff]*", text):
        assert fit == text


@pytest.mark.parametrize("parameters", [{}, "x", None, 5, True])
def test_parameters_of_another_program_must_be_an_array(parameters: object) -> None:
    with pytest.raises(InvalidParameters, match="parameters is .*; allowed is an array"):
        call_arguments(parameters, {})


@pytest.mark.parametrize("keyed", [[], "x", None, 5, True])
def test_keyed_parameters_of_another_program_must_be_an_object(keyed: object) -> None:
    with pytest.raises(InvalidParameters, match="parameters_keyed is .*; allowed is an object"):
        call_arguments([], keyed)
