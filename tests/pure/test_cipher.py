"""Keys, and what they seal."""

import base64
import importlib.util
import pickle
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuer import ConfigurationError, DecryptionError
from queuer.cipher import Cipher, Place, derive, keys_from_env, read_keys
from queuer.envelope import beginning, is_sealed

RAW, OTHER = (base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))
PLACE = Place(uuid4(), "parameters")


def cipher(keys: str, salt: bytes = b"salt" * 4) -> Cipher:
    return Cipher(read_keys(keys, "encryption_key"), lambda: salt)


@given(st.text())
def test_what_is_sealed_opens_in_its_place(plain: str) -> None:
    sealed = cipher(RAW).seal(plain, PLACE)
    assert is_sealed(sealed)
    assert cipher(RAW).open(sealed, PLACE) == plain


def test_no_value_is_sealed_the_same_way_twice() -> None:
    both = cipher(RAW)
    assert len({both.seal("same", PLACE) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "elsewhere",
    [Place(uuid4(), "parameters"), PLACE._replace(column="results"), PLACE._replace(series_rid=uuid4())],
)
def test_a_value_that_was_moved_does_not_open(elsewhere: Place) -> None:
    sealed = cipher(RAW).seal("secret", PLACE)
    with pytest.raises(DecryptionError, match=f"{elsewhere.column} of job {elsewhere.job} can't be decrypted with its"):
        cipher(RAW).open(sealed, elsewhere)


def test_the_runs_of_a_series_share_what_they_were_added_with() -> None:
    first = uuid4()
    sealed = cipher(RAW).seal("secret", Place(first, "parameters", series_rid=first))
    assert cipher(RAW).open(sealed, Place(uuid4(), "parameters", series_rid=first)) == "secret"


def test_no_bit_can_be_changed() -> None:
    sealed = cipher(RAW).seal("secret", PLACE)
    raw = base64.b64decode(sealed.removeprefix("sealed:"))
    for position in range(len(raw)):
        damaged = bytearray(raw)
        damaged[position] ^= 1
        with pytest.raises(DecryptionError, match=f"parameters of job {PLACE.job} "):
            cipher(RAW).open("sealed:" + base64.b64encode(damaged).decode(), PLACE)


@pytest.mark.parametrize("damaged", ["sealed:", "sealed:AQ==", "sealed:not base64!", "sealed:" + "A" * 400])
def test_what_is_no_sealed_value_says_so(damaged: str) -> None:
    with pytest.raises(DecryptionError, match="it is damaged, or was encrypted by a newer queuer"):
        cipher(RAW).open(damaged, PLACE)


def test_the_first_key_seals_and_any_opens() -> None:
    old, new = cipher(RAW), cipher(f"{OTHER}, {RAW}")
    assert new.open(old.seal("secret", PLACE), PLACE) == "secret"
    sealed = new.seal("secret", PLACE)
    assert sealed.startswith(beginning(new.key_ids[0]))
    assert new.key_ids == [*cipher(OTHER).key_ids, *old.key_ids]
    with pytest.raises(DecryptionError, match=f"is encrypted with the key {new.key_ids[0]}, which this process does"):
        old.open(sealed, PLACE)


def test_a_key_in_url_safe_base64_is_the_same_key() -> None:
    raw = b"\xfb\xff" * 16
    forms = [base64.b64encode(raw), base64.urlsafe_b64encode(raw), base64.urlsafe_b64encode(raw).rstrip(b"=")]
    assert len({cipher(form.decode()).key_ids[0] for form in forms}) == 1


def test_a_passphrase_is_bound_to_the_salt_and_derived_once() -> None:
    derive.cache_clear()
    first, again, elsewhere = (cipher("correct horse", salt) for salt in (b"one" * 5, b"one" * 5, b"two" * 5))
    assert again.open(first.seal("secret", PLACE), PLACE) == "secret"
    assert first.key_ids != elsewhere.key_ids
    assert derive.cache_info().misses == 2


def test_a_raw_key_needs_no_salt() -> None:
    assert Cipher(read_keys(RAW, "encryption_key")).key_ids == cipher(RAW).key_ids


@pytest.mark.parametrize(
    ("given_keys", "says"),
    [
        ("   ", "encryption_key is blank"),
        (f"{RAW},", "key 2 of the 2 in encryption_key is blank"),
        (f", {RAW}", "key 1 of the 2 in encryption_key is blank"),
        (b"bytes", "encryption_key is of type bytes; allowed is a str"),
    ],
)
def test_a_key_that_is_none_is_refused_and_not_shown(given_keys: object, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        read_keys(given_keys, "encryption_key")
    assert RAW not in str(caught.value)


def test_the_variable_may_be_unset_but_not_blank() -> None:
    assert keys_from_env({}) == ()
    assert len(keys_from_env({"QUEUER_ENCRYPTION_KEY": f"{RAW},{OTHER},{RAW}"})) == 2
    with pytest.raises(ConfigurationError, match="QUEUER_ENCRYPTION_KEY is set but blank"):
        keys_from_env({"QUEUER_ENCRYPTION_KEY": ""})


def test_without_the_extra_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert read_keys("", "encryption_key") == ()
    with pytest.raises(ConfigurationError, match=r"pip install 'queuer\[encryption\]'"):
        read_keys(RAW, "encryption_key")


def test_keys_are_shown_nowhere() -> None:
    keys = read_keys(f"{RAW},a passphrase", "encryption_key")
    shown = repr(keys) + repr(Cipher(keys)) + str(keys[0])
    assert RAW not in shown
    assert "passphrase" not in shown
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(cipher(RAW))
