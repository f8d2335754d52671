"""MongoDB 4.2 or newer: a replica set, a cluster sharded by hashed ``_id``, or one server.

``layout`` defines the collections, ``connect`` opens clients. ``records`` reads and writes, by a ``plan`` that is
made before anything is written, and updates the ``accounts``; ``leases`` and ``log`` are between processes. Every
operation is written once, as steps; ``store`` runs them with both drivers.
"""

from askonce.stores.mongodb.store import MongoDBStore

__all__ = ["MongoDBStore"]
