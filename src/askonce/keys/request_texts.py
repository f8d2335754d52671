"""The texts of a request, by which entries that were made from them are found: as digests, or as they are.

An entry has a digest of each text of its request (a message, a prompt, an input), so that what was made from a text
can be deleted although no request is stored.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from askonce.keys import normal_form

DIGEST = 8
_MOST_TEXTS = 512
_NO_TEXTS = frozenset({"model", "version", "kind", "role", "type"})
"""What says how a request is made, and not what it says."""


def digest_of_text(text: str) -> bytes:
    """The digest of one text, whatever spaces surround it."""
    return blake2b(normal_form.text(text).strip().encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()


def digests_of(body: Mapping[str, Any]) -> bytes:
    """The digests of the texts of a request in normal form, one after the other."""
    found: dict[bytes, None] = {}
    for text in _texts(body):
        found[digest_of_text(text)] = None
        if len(found) == _MOST_TEXTS:
            break
    return b"".join(found)


def has_digest(digests: bytes, digest: bytes) -> bool:
    """Whether a digest is among those of `digests_of`."""
    return any(digests[at : at + DIGEST] == digest for at in range(0, len(digests), DIGEST))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            if name not in _NO_TEXTS:
                yield from _texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, msgspec.Raw):
        yield from _texts(msgspec.json.decode(value))


def spellings(text: str) -> tuple[bytes, ...]:
    """The bytes by which a text may stand in stored data: its Unicode forms, as they are and within JSON."""
    forms = {text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))}
    written = {json.dumps(one, ensure_ascii=ascii)[1:-1] for one in forms for ascii in (False, True)}
    return tuple({one.encode("utf-8", "surrogatepass") for one in forms | written})
