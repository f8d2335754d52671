"""The texts of a request, by which entries that were made from them are found: as digests, or as they are.

An entry has a digest of each text of its request (a message, a prompt, an input) and of each number, so that what
was made from one can be deleted although no request is stored.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any

import msgspec

from askonce.keys import normal_form

DIGEST = 8
_MOST_TEXTS = 512
_NO_TEXTS = frozenset({"model", "version", "kind", "role", "type"})
"""What says how a request is made, and not what it says."""
_UNSEEN = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
"""Where a line may break, and where letters join: nobody sees them."""
_BEYOND_ASCII = re.compile("[^\x00-\x7f\udc80-\udcff]+")
"""Without bytes that are no text: to normalize those takes long, and there are many in vectors."""
_ESCAPE = re.compile(r'\\+(?:u([0-9a-fA-F]{4})|([nrtbf"/\\]))')
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
"""Two numbers in JSON that are one letter."""
_BLANKS = dict.fromkeys("nrtbf", " ")


def digest_of_text(text: str) -> bytes:
    """The digest of one text, whatever spaces surround it."""
    return blake2b(normal_form.text(text).strip().encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()


def number_of(value: int | float | str | Decimal) -> Decimal | None:
    """The number that a value or a text is; ``None`` if it is none, or not finite."""
    try:
        number = Decimal(value if isinstance(value, int) else str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def digests_of_text(text: str) -> tuple[bytes, ...]:
    """The digests under which a request may have a text: also of the number that it is."""
    number = number_of(text)
    texts = [text, *as_questions(text)]
    if number is not None:
        texts += [f"{number.normalize():f}", str(float(number))]
    return tuple({digest_of_text(one) for one in texts})


def as_questions(text: str) -> set[str]:
    """A text as questions to a retriever have it in their normal forms."""
    return {
        normal_form.question(text, ignore_case=case, ignore_punctuation=punctuation)
        for case in (False, True)
        for punctuation in (False, True)
    }


def digests_of(body: Mapping[str, Any]) -> bytes:
    """The digests of the texts and numbers of a request in normal form, one after the other."""
    found: dict[bytes, None] = {}
    for text in _texts(body):
        found[digest_of_text(text)] = None
        if len(found) == _MOST_TEXTS:
            break
    return b"".join(found)


def digests_in(digests: bytes) -> list[bytes]:
    """Those of `digests_of`, each by itself."""
    return [digests[at : at + DIGEST] for at in range(0, len(digests), DIGEST)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            if name not in _NO_TEXTS:
                yield from _texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, msgspec.Raw):
        yield from _texts(msgspec.json.decode(value))


def folded(data: bytes) -> str:
    """Stored data as a reader compares it, to search it for `spellings`; what JSON escapes is there twice."""
    text = data.decode("utf-8", "surrogateescape")
    if "\\" in text:
        text = f"{text}\0{_unescaped(text)}"
    return folded_text(text)


def folded_text(text: str) -> str:
    """A text without what a reader does not tell apart: capitals, Unicode forms, white space."""
    if text.isascii():
        return " ".join(text.lower().split())
    text = _BEYOND_ASCII.sub(_folded_run, _UNSEEN.sub("", text).lower())
    text = text.replace("i\u0307", "i").replace("\u0131", "i")  # Turkish i and I
    return " ".join(text.split())


def _folded_run(run: re.Match[str]) -> str:
    # Not composed: the last letter would join with an accent that happens to follow in stored data.
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", run[0]).casefold())


def spellings(text: str) -> tuple[str, ...]:
    """How a text may stand in `folded` data: as it is, and within JSON."""
    cases = {text, text.lower(), text.upper(), text.title()}  # within JSON, letters may be numbers
    forms = {unicodedata.normalize(form, one) for one in cases for form in ("NFC", "NFD")} | cases
    written = {_in_json(one, ascii) for one in forms for ascii in (False, True)}
    within = {_in_json(one, ascii) for one in written for ascii in (False, True)}  # a tool call's arguments
    as_stored = (one.encode("utf-8", "surrogatepass") for one in forms | written | within)
    found = {folded_text(one.decode("utf-8", "surrogateescape")) for one in as_stored}
    return tuple(found - {""})  # which is in everything


def _in_json(text: str, ascii: bool) -> str:
    return json.dumps(text, ensure_ascii=ascii)[1:-1]


def _unescaped(text: str) -> str:
    return _PAIR.sub(_joined, _ESCAPE.sub(_meant, text))


def _joined(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _meant(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else _BLANKS.get(escape[2], escape[2])
