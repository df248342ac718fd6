"""Which fields of a job are encrypted, and how each way in and out of the database seals and opens them.

Sealed are `parameters`, `parameters_keyed`, the metadata in `options`, `results`, `error`, `series_error`, and of each
entry of `failures` its message and traceback. What is needed to choose, order and search jobs stays clear.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from msgspec import structs

from queuer.cipher import Cipher, Place
from queuer.envelope import MARK, is_sealed
from queuer.errors import DecryptionError
from queuer.payload import decode
from queuer.values import ClaimedJob, NewJob, Outcome, SealedFailure

#: What a job was added with: bound to its series, since the next run inherits it. The rest is of one run alone.
_INHERITED = ("parameters", "parameters_keyed")
_TEXTS = ("error", "series_error")

#: How the JSON text of something sealed begins.
_SEALED = f'"{MARK}'

#: What is sealed of an entry of `failures`; see `Failure.words`.
_WORDS = ("message", "traceback")

#: What is read of a job's row, besides its options, to open it.
READ = ("rid", "series_rid", "failures", *_INHERITED, "results", *_TEXTS)


def sealed_new(cipher: Cipher, job: NewJob) -> NewJob:
    """A job as it is inserted. Empty parameters are sealed, too: the worker that runs the job needs the key."""
    if not cipher.has_keys:
        return job

    def seal(value: object, column: str) -> str:
        return cipher.seal(_json(value), Place(job.rid, column, job.series_rid))

    metadata = job.options.metadata
    return job._replace(
        parameters=seal(job.parameters, "parameters"),
        parameters_keyed=seal(job.parameters_keyed or {}, "parameters_keyed"),
        options=replace(job.options, metadata=None),
        sealed_metadata=None if metadata is None else seal(dict(metadata), "metadata"),
        key_id=cipher.key_ids[0],
    )


def opened_new(cipher: Cipher, job: NewJob) -> NewJob:
    """The inverse of `sealed_new`, by the same cipher."""
    if job.key_id is None:
        return job

    def open_json(sealed: Any, column: str) -> Any:
        return json.loads(cipher.open(sealed, Place(job.rid, column, job.series_rid)))

    metadata = job.sealed_metadata
    return job._replace(
        parameters=open_json(job.parameters, "parameters"),
        parameters_keyed=open_json(job.parameters_keyed, "parameters_keyed"),
        options=replace(job.options, metadata=None if metadata is None else open_json(metadata, "metadata")),
        sealed_metadata=None,
        key_id=None,
    )


def opened_claim(cipher: Cipher, job: ClaimedJob) -> ClaimedJob:
    """A job as its worker needs it.

    Raises:
        DecryptionError: A value can't be opened, or is clear in a row that says that it is sealed.
    """
    keyed = job.parameters_keyed
    if job.key_id is None and not (job.parameters.startswith(_SEALED) or (keyed and keyed.startswith(_SEALED))):
        return job
    return _opened(cipher, job)


def _opened(cipher: Cipher, job: ClaimedJob) -> ClaimedJob:
    texts = {"parameters": job.parameters, "parameters_keyed": job.parameters_keyed or "{}"}

    def open_text(value: Any, column: str) -> str:
        place = Place(job.rid, column, job.series_rid)
        if is_sealed(value):
            return cipher.open(value, place)
        raise _replaced(place, job.key_id)

    opened: dict[str, Any] = {column: open_text(decode(text), column) for column, text in texts.items()}
    options = decode(job.options or "{}")
    if isinstance(options, dict) and options.get("metadata") is not None:
        options["metadata"] = json.loads(open_text(options["metadata"], "metadata"))
        opened["options"] = _json(options)
    return structs.replace(job, **opened)


def sealed_outcome(cipher: Cipher, outcome: Outcome) -> Outcome:
    """An outcome as it is written."""
    if not cipher.has_keys:
        return outcome
    job, failure, said = outcome.job, outcome.failure, outcome.series_error
    if failure is not None:
        failure = SealedFailure(
            failure.type,
            message="",
            traceback="",
            sealed_error=cipher.seal(failure.error, Place(job.rid, "error")),
            sealed=cipher.seal(_json(failure.words()), Place(job.rid, f"failures/{job.attempt}")),
        )
    return structs.replace(
        outcome,
        results=outcome.results and _json(cipher.seal(outcome.results, Place(job.rid, "results"))),
        failure=failure,
        series_error=said and cipher.seal(said, Place(job.rid, "series_error")),
    )


def is_any_sealed(record: Mapping[str, Any]) -> bool:
    """Whether any field of a job is sealed."""
    plain = [record.get(column) for column in (*_INHERITED, "results", *_TEXTS)]
    options, failures = record["options"], record["failures"]
    metadata = options.get("metadata") if isinstance(options, dict) else None
    entries = [e.get("sealed") for e in failures if isinstance(e, dict)] if isinstance(failures, list) else []
    return any(map(is_sealed, (*plain, metadata, *entries)))


def resealed(cipher: Cipher, record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a job's row, whatever they are sealed with, sealed by the cipher's first key.

    Args:
        record: As for `Opener`, and the row's `key_id`; but parameters and results as texts: sealed, or of clear JSON.

    Raises:
        DecryptionError: One can't be opened, or is clear although the row says that it is sealed.
    """

    def again(value: Any, column: str, *, inherited: bool = False) -> str:
        place = Place(record["rid"], column, record["series_rid"] if inherited else None)
        if is_sealed(value):
            value = cipher.open(value, place)
        elif inherited and record["key_id"] is not None:
            raise _replaced(place, record["key_id"])
        return cipher.seal(value, place)

    changed: dict[str, Any] = {"key_id": cipher.key_ids[0]}
    for column in (*_INHERITED, "results", *_TEXTS):
        if (value := record.get(column)) is not None:
            changed[column] = again(value, column, inherited=column in _INHERITED)
    options = record["options"]
    if isinstance(options, dict) and (metadata := options.get("metadata")) is not None:
        text = metadata if is_sealed(metadata) else _json(metadata)
        changed["options"] = options | {"metadata": again(text, "metadata", inherited=True)}
    failures = record["failures"]
    if isinstance(failures, list) and failures:
        changed["failures"] = [
            _without_words(entry) | {"sealed": again(_words(entry), f"failures/{entry.get('attempt')}")}
            if isinstance(entry, dict) and not entry.keys().isdisjoint((*_WORDS, "sealed"))
            else entry
            for entry in failures
        ]
    return changed


def _words(entry: Mapping[str, Any]) -> str:
    return entry["sealed"] if "sealed" in entry else _json({name: entry.get(name) for name in _WORDS})


def _without_words(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in (*_WORDS, "sealed")}


def _replaced(place: Place, key_id: str | None) -> DecryptionError:
    return DecryptionError(
        f"{place.column} of job {place.job} is not encrypted, although the job is, with the key {key_id}: somebody has"
        " changed it"
    )


class Opener:
    """Opens the fields of one job's row, for people to look at: what can't be opened is None.

    Args:
        record: rid, series_rid, and the fields by the names of their columns, those of jsonb as Python values.
    """

    def __init__(self, cipher: Cipher, record: Mapping[str, Any]) -> None:
        self._cipher = cipher
        self._record = record
        #: Why fields could not be opened.
        self.troubles: list[DecryptionError] = []

    def opened(self) -> dict[str, Any]:
        """The fields that were sealed, as they were before."""
        found: dict[str, Any] = {}
        for column in (*_INHERITED, "results"):
            if is_sealed(sealed := self._record.get(column)):
                text = self._open(sealed, column, inherited=column in _INHERITED)
                found[column] = None if text is None else decode(text)
        for column in _TEXTS:
            if is_sealed(sealed := self._record.get(column)):
                found[column] = self._open(sealed, column)
        options = self._record["options"]
        if isinstance(options, dict) and is_sealed(sealed := options.get("metadata")):
            text = self._open(sealed, "metadata", inherited=True)
            found["options"] = options | {"metadata": None if text is None else decode(text)}
        failures = self._record["failures"]
        if isinstance(failures, list) and any(isinstance(e, dict) and "sealed" in e for e in failures):
            found["failures"] = [self._failure(entry) for entry in failures]
        return found

    def _failure(self, entry: Any) -> Any:
        if not isinstance(entry, dict) or "sealed" not in entry:
            return entry
        text = self._open(entry["sealed"], f"failures/{entry.get('attempt')}")
        return _without_words(entry) | (dict.fromkeys(_WORDS) if text is None else decode(text))

    def _open(self, sealed: Any, column: str, *, inherited: bool = False) -> str | None:
        rid: UUID = self._record["rid"]
        place = Place(rid, column, self._record["series_rid"] if inherited else None)
        try:
            return self._cipher.open(sealed, place)
        except DecryptionError as error:
            self.troubles.append(error)
            return None


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
