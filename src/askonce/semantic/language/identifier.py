"""Which language a text is in, by py3langid: naive Bayes over byte sequences (Lui and Baldwin 2012, langid.py).

It is loaded with this module, which takes most of a second and 80 MB: where no file may be read, imports may.
"""

from __future__ import annotations

from typing import Any

from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

from askonce.semantic.language.lexicon import LANGUAGES

_NOTHING = -1e30
"""Far above what a text without a known byte sequence gets."""
_identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE)
_identifier.set_languages(list(LANGUAGES))


def log_likelihoods(text: str) -> dict[str, float]:
    """Of a text in each language; of none if nothing in it separates them."""
    found: dict[str, float] = dict(_identifier.rank(text))
    return found if found["en"] > _NOTHING else {}
