"""Encryption with the application's own keys: AES-256-GCM. The only module that knows `cryptography`.

Each job's values have a key of their own, derived from the application's and the job's rid: random nonces then never
repeat under one key, however many jobs there are. `queuer.envelope` says how a sealed value looks.
"""

import hmac
import importlib.util
import os
import re
from base64 import b64decode, b64encode, urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from queuer.envelope import MARK, VERSION
from queuer.errors import ConfigurationError, DecryptionError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_LENGTH = 32
_ID_LENGTH = 8
_NONCE_LENGTH = 12
_TAG_LENGTH = 16
_HEAD = len(VERSION) + _ID_LENGTH + _NONCE_LENGTH

#: Environment variable of the keys; see `read_keys`.
VARIABLE = "QUEUER_ENCRYPTION_KEY"

#: 64 MB and some 0.2 s for one guess at a passphrase.
_SCRYPT_COST = 2**16


class Place(NamedTuple):
    """Where a value belongs: sealed there, it opens nowhere else.

    Args:
        job: The job's rid.
        column: The column, or the part of one.
        series_rid: Of what all runs of a series share. The next run gets it as it is, also from a master without keys.
    """

    job: UUID
    column: str
    series_rid: UUID | None = None

    @property
    def rid(self) -> UUID:
        return self.series_rid or self.job


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the user gave it: 32 bytes in base64, or a passphrase. Whoever prints it sees nothing of it."""

    text: str = field(repr=False)

    @property
    def raw(self) -> bytes | None:
        """The 32 bytes; None = it is a passphrase."""
        if not re.fullmatch(r"[A-Za-z0-9+/_-]{43}=?", self.text):
            return None
        raw = urlsafe_b64decode(self.text[:43].replace("+", "-").replace("/", "_") + "=")
        return raw if len(raw) == _KEY_LENGTH else None


def read_keys(given: object, name: str) -> tuple[Key, ...]:
    """The keys of a comma-separated list; none when it is empty. `name` is what the user calls it.

    Raises:
        ConfigurationError: It is no text, a key is blank, or `cryptography` is not installed. No message shows a key.
    """
    if not isinstance(given, str):
        raise ConfigurationError(f"{name} is of type {type(given).__name__}; allowed is a str, empty for no encryption")
    if not given:
        return ()
    keys = [key.strip() for key in given.split(",")]
    if not all(keys):
        which = f"key {keys.index('') + 1} of the {len(keys)} in {name}" if any(keys) else name
        raise ConfigurationError(
            f"{which} is blank; allowed are keys separated by commas, each 32 bytes in base64 or a passphrase"
        )
    if importlib.util.find_spec("cryptography") is None:
        raise ConfigurationError(
            f"{name} is given, but the package cryptography is not installed; pip install 'queuer[encryption]'"
        )
    return tuple(map(Key, dict.fromkeys(keys)))


def keys_from_env(environ: Mapping[str, str] = os.environ) -> tuple[Key, ...]:
    """The keys of `QUEUER_ENCRYPTION_KEY`; none when it is unset, but not when it is blank: that may be a mistake.

    Raises:
        ConfigurationError: As by `read_keys`, or it is blank.
    """
    given = environ.get(VARIABLE)
    if given == "":
        raise ConfigurationError(f"{VARIABLE} is set but blank; give it a key, or unset it for no encryption")
    return read_keys(given or "", VARIABLE)


def _no_salt() -> bytes:
    raise ConfigurationError("a passphrase needs the salt of a database; give a key of 32 bytes in base64")


class Cipher:
    """Seals values by the first of its keys, and opens those that were sealed by any of them.

    Args:
        keys: As `read_keys` returns them. None = it seals and opens nothing.
        salt: Finds the database's salt. Asked once, when a key is needed first, and only for passphrases.
    """

    def __init__(self, keys: Sequence[Key] = (), salt: Callable[[], bytes] = _no_salt) -> None:
        self._given = tuple(keys)
        self._salt = salt
        self.has_keys = bool(keys)

    def __repr__(self) -> str:
        return f"<Cipher of {len(self._given)} keys>"

    def __reduce__(self) -> str:
        raise TypeError("a cipher can't be pickled: its keys would go with it")

    def derive_keys(self) -> None:
        """Derives what passphrases stand for now rather than when it is needed first."""
        _ = self._keys

    @property
    def key_ids(self) -> Sequence[str]:
        """By what its keys are known, in hexadecimal, that which seals first. They tell nothing of the keys."""
        return list(self._keys)

    @cached_property
    def _keys(self) -> dict[str, bytes]:
        keys = [key.raw or derive(key, self._salt()) for key in self._given]
        return {_keyed_hash(key, b"id")[:_ID_LENGTH].hex(): key for key in keys}

    def seal(self, plain: str, place: Place) -> str:
        """Encrypts a text for one place."""
        key_id, key = next(iter(self._keys.items()))
        nonce = os.urandom(_NONCE_LENGTH)
        sealed = _sealer(key, place.rid).encrypt(nonce, plain.encode(), _associated(place))
        return MARK + b64encode(VERSION + bytes.fromhex(key_id) + nonce + sealed).decode()

    def open(self, sealed: str, place: Place) -> str:
        """Decrypts what was sealed for this place.

        Raises:
            DecryptionError: Its key is not among these, or does not open it.
        """
        what = f"{place.column} of job {place.job}"
        try:
            raw = b64decode(sealed.removeprefix(MARK), validate=True)
        except ValueError:
            raw = b""
        if len(raw) < _HEAD + _TAG_LENGTH or not raw.startswith(VERSION):
            raise DecryptionError(f"{what} can't be decrypted: it is damaged, or was encrypted by a newer queuer")
        key_id = raw[len(VERSION) : len(VERSION) + _ID_LENGTH].hex()
        key = self._keys.get(key_id)
        if key is None:
            raise DecryptionError(
                f"{what} is encrypted with the key {key_id}, which this process does not have; add that key to the list"
            )
        _, invalid_tag = _library()
        nonce = raw[_HEAD - _NONCE_LENGTH : _HEAD]
        try:
            return _sealer(key, place.rid).decrypt(nonce, raw[_HEAD:], _associated(place)).decode()
        except invalid_tag:
            raise DecryptionError(
                f"{what} can't be decrypted with its own key {key_id}: it was damaged, or belongs to another job or"
                " column"
            ) from None


#: For who has no keys: what is sealed stays so.
NO_KEYS = Cipher()


@cache
def _library() -> "tuple[type[AESGCM], type[Exception]]":
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - ditto

    return AESGCM, InvalidTag


@lru_cache(maxsize=16)
def derive(passphrase: Key, salt: bytes) -> bytes:
    """The key that a passphrase stands for. Slow on purpose, so that guessing is; once in a process."""
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt  # noqa: PLC0415 - an extra

    return Scrypt(salt=salt, length=_KEY_LENGTH, n=_SCRYPT_COST, r=8, p=1).derive(
        passphrase.text.encode(errors="surrogateescape")
    )


@lru_cache(maxsize=16)
def _sealer(key: bytes, rid: UUID) -> "AESGCM":
    """By a key of the job's own. Kept for a moment: a job has several values."""
    aead, _ = _library()
    return aead(_keyed_hash(key, b"job" + rid.bytes))


def _keyed_hash(key: bytes, of: bytes) -> bytes:
    return hmac.digest(key, b"queuer 1 " + of, "sha256")


def _associated(place: Place) -> bytes:
    return place.rid.bytes + place.column.encode()
