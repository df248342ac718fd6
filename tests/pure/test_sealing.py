"""Which fields are sealed, and what is made of rows that somebody has changed."""

import base64
import json
from typing import Any
from uuid import uuid4

import pytest
from msgspec import structs
from support.jobs import claimed, failed, new_job, succeeded

from queuer import DecryptionError, Options
from queuer.cipher import NO_KEYS, Cipher, read_keys
from queuer.sealing import Opener, opened_claim, sealed_new, sealed_outcome
from queuer.values import ClaimedJob, NewJob

CIPHER, OTHER = (Cipher(read_keys(base64.b64encode(bytes([byte]) * 32).decode(), "encryption_key")) for byte in (1, 2))
SECRET = "4111-1111"


def as_claimed(job: NewJob) -> ClaimedJob:
    """What a claim finds of a job that was added."""
    columns: dict[str, Any] = {"parameters": job.parameters, "parameters_keyed": job.parameters_keyed or {}}
    found = claimed(**columns, options=job.options_json, key_id=job.key_id)
    return structs.replace(found, rid=job.rid)


def test_a_job_is_sealed_whole_and_opens_again() -> None:
    job = new_job("task", SECRET, options=Options(metadata={"card": SECRET}))
    sealed = sealed_new(CIPHER, job)
    assert SECRET not in repr(sealed)
    assert sealed.key_id == CIPHER.key_ids[0]
    opened = opened_claim(CIPHER, as_claimed(sealed))
    assert json.loads(opened.parameters) == [SECRET]
    assert json.loads(opened.options) == {"metadata": {"card": SECRET}}


def test_without_keys_nothing_is_touched() -> None:
    job = new_job("task", SECRET)
    assert sealed_new(NO_KEYS, job) is job
    found = as_claimed(job)
    assert opened_claim(NO_KEYS, found) is found
    outcome = failed(found)
    assert sealed_outcome(NO_KEYS, outcome) is outcome


def test_a_worker_with_a_key_runs_what_was_added_without() -> None:
    found = as_claimed(new_job("task", 1))
    assert opened_claim(CIPHER, found) is found


def test_empty_parameters_are_sealed_too() -> None:
    sealed = sealed_new(CIPHER, new_job())
    assert str(sealed.parameters).startswith("sealed:")
    assert str(sealed.parameters_keyed).startswith("sealed:")
    assert "metadata" not in sealed.options_json


@pytest.mark.parametrize("column", ["parameters", "parameters_keyed"])
def test_a_clear_value_in_a_sealed_row_is_refused(column: str) -> None:
    found = as_claimed(sealed_new(CIPHER, new_job("task", SECRET)))
    with pytest.raises(DecryptionError, match=f"{column} of job {found.rid} is not encrypted, although the job is"):
        opened_claim(CIPHER, structs.replace(found, **{column: "[]"}))


def test_a_sealed_value_in_a_clear_row_is_opened() -> None:
    found = as_claimed(sealed_new(CIPHER, new_job("task", SECRET)))
    assert json.loads(opened_claim(CIPHER, structs.replace(found, key_id=None)).parameters) == [SECRET]
    with pytest.raises(DecryptionError, match="which this process does not have"):
        opened_claim(OTHER, structs.replace(found, key_id=None))


def test_an_outcome_is_sealed_but_for_the_kind_of_its_failure() -> None:
    job = claimed()
    assert SECRET not in repr(sealed_outcome(CIPHER, succeeded(job, results=f'["{SECRET}"]')))
    outcome = sealed_outcome(CIPHER, failed(job))
    assert outcome.failure is not None
    assert outcome.failure.type == "ValueError"
    assert set(outcome.failure.to_json()) == {"type", "sealed"}
    assert outcome.failure.error.startswith("sealed:")


@pytest.mark.parametrize("cipher", [CIPHER, OTHER, NO_KEYS])
def test_whoever_looks_sees_what_the_keys_allow(cipher: Cipher) -> None:
    sealed = sealed_new(CIPHER, new_job("task", 1, options=Options(metadata={"a": 1})))
    failure = sealed_outcome(CIPHER, failed(structs.replace(claimed(), rid=sealed.rid))).failure
    assert failure is not None
    record = {
        "rid": sealed.rid,
        "series_rid": None,
        "parameters": sealed.parameters,
        "parameters_keyed": {"clear": True},
        "options": sealed.options_json,
        "failures": ["not ours", {"attempt": 1, **failure.to_json()}],
        "error": failure.error,
    }
    opener = Opener(cipher, record)
    is_mine = cipher is CIPHER
    assert opener.opened() == {
        "parameters": [1] if is_mine else None,
        "options": {"metadata": {"a": 1} if is_mine else None},
        "error": "ValueError: no" if is_mine else None,
        "failures": [
            "not ours",
            {
                "attempt": 1,
                "type": "ValueError",
                "message": "no" if is_mine else None,
                "traceback": "Traceback …" if is_mine else None,
            },
        ],
    }
    assert bool(opener.troubles) is not is_mine


def test_failures_of_two_attempts_can_not_change_places() -> None:
    job = claimed()
    failure = sealed_outcome(CIPHER, failed(job)).failure
    assert failure is not None
    record = {"rid": job.rid, "series_rid": None, "options": {}, "failures": [{"attempt": 2, **failure.to_json()}]}
    opener = Opener(CIPHER, record)
    assert opener.opened()["failures"] == [{"attempt": 2, "type": "ValueError", "message": None, "traceback": None}]
    assert len(opener.troubles) == 1


@pytest.mark.parametrize("options", [None, [], "text", {"metadata": "sealed:AA"}])
def test_options_of_any_shape_can_be_looked_at(options: Any) -> None:
    record = {"rid": uuid4(), "series_rid": None, "options": options, "failures": {}}
    assert Opener(CIPHER, record).opened().get("options") in (None, {"metadata": None})
