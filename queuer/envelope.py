"""How an encrypted value looks. To tell it from a clear one needs no key.

It is a text, also in columns of JSON: "sealed:" and, in base64, the version (1 byte), the key's id (8), a nonce (12)
and the ciphertext with its tag. The first nine bytes are twelve characters, so SQL can tell by which key it is sealed.
"""

from base64 import b64encode

MARK = "sealed:"

VERSION = b"\x01"


def is_sealed(value: object) -> bool:
    """Whether it is an encrypted value. A clear error of a class that is called `sealed` goes on with a space."""
    return isinstance(value, str) and value.startswith(MARK) and not value.startswith(MARK + " ")


def beginning(key_id: str) -> str:
    """What every value begins with that is sealed by this key."""
    return MARK + b64encode(VERSION + bytes.fromhex(key_id)).decode()
