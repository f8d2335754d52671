"""MongoDB 4.2 or newer: a replica set, a cluster sharded by hashed ``_id``, or one server.

``layout`` says what stands where, ``connect`` how the server is reached. ``records`` reads and writes, by a
``plan`` that is made before anything is written, and keeps the ``accounts``; ``leases`` and ``log`` are between
processes. Every operation is written once, as steps; ``store`` runs them for both faces.
"""

from askonce.stores.mongodb.store import MongoDBStore

__all__ = ["MongoDBStore"]
