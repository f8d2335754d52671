"""Answers are sealed with AES-GCM before they reach the store; only who has the key reads them."""

import secrets
import tempfile
from pathlib import Path

from offline_langchain import OfflineChatModel

from askonce import Cache
from askonce.langchain import cached

PROMPT = [("system", "The patient's name is Ada. She is allergic to nuts."), ("human", "What is Ada allergic to?")]
key = secrets.token_bytes(32)  # a real one comes from a key vault

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "cache.db")
    for title, keys in ("with the key", [key]), ("again", [key]), ("with another key", [secrets.token_bytes(32)]):
        with Cache(f"sqlite:///{file}", encryption_keys=keys) as cache:
            answer = cached(OfflineChatModel(), cache).invoke(PROMPT)
            mark = answer.response_metadata.get("askonce")
            print(f"{title}: {answer.text} ({'the model was called' if mark is None else 'from the cache'})")
    print("Readable in the file:", any(b"allergic" in path.read_bytes() for path in Path(folder).iterdir()))
