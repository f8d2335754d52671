"""Leases: which process makes which record."""

from __future__ import annotations

from typing import Any

from pymongo.errors import DuplicateKeyError

from askonce.stores.base import LEASE_SLACK
from askonce.stores.mongodb.layout import LEASES, Steps, date, id_of


def lease(db: Any, namespace: str, key: bytes, owner: str, seconds: float, now: float) -> Steps[bool]:
    """As ``Store.lease``: an upsert that finds another owner's document collides with it."""
    ahead = now + LEASE_SLACK * seconds
    free = {"$or": [{"owner": owner}, {"until": {"$lte": now}}, {"until": {"$gt": ahead}}]}
    until = {"owner": owner, "until": now + seconds, "gone": date(seconds)}
    try:
        yield db[LEASES].update_one({"_id": id_of(namespace, key), **free}, {"$set": until}, upsert=True)
    except DuplicateKeyError:
        return False
    return True


def release(db: Any, namespace: str, key: bytes, owner: str) -> Steps[None]:
    """As ``Store.release``."""
    yield db[LEASES].delete_one({"_id": id_of(namespace, key), "owner": owner})
