"""Which language a text is in, by py3langid: naive Bayes over byte sequences (Lui and Baldwin 2012, langid.py).

It is loaded with this module, which takes most of a second and 80 MB: where no file may be read, imports may.
"""

from __future__ import annotations

import contextlib
import io
import types
from collections.abc import Iterator
from typing import Any

from py3langid import modelio  # type: ignore[import-untyped]
from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

from askonce.semantic.language.lexicon import LANGUAGES
from askonce.stores.blocking import is_forbidden

_NOTHING = -1e30
"""Far above what a text without a known byte sequence gets."""


@contextlib.contextmanager
def _temporary_files_in_memory() -> Iterator[None]:
    files = modelio.tempfile
    modelio.tempfile = types.SimpleNamespace(TemporaryFile=lambda **_: io.BytesIO())
    try:
        yield
    finally:
        modelio.tempfile = files


def _loaded() -> Any:
    """The model, which is unpacked to a temporary file, or to memory where there is no folder for such files."""
    try:
        return LanguageIdentifier.from_model_file(MODEL_FILE)
    except Exception as error:
        if not isinstance(error, OSError) and not is_forbidden(error):
            raise
    with _temporary_files_in_memory():
        return LanguageIdentifier.from_model_file(MODEL_FILE)


_identifier = _loaded()
_identifier.set_languages(list(LANGUAGES))


def log_likelihoods(text: str) -> dict[str, float]:
    """Of a text in each language; of none if nothing in it separates them."""
    found: dict[str, float] = dict(_identifier.rank(text))
    return found if found["en"] > _NOTHING else {}
