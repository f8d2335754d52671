"""Redis and what speaks like it: a single server, Sentinel or Cluster, from Redis 6.2 on and Valkey.

``plans`` says which commands each operation sends, ``connect`` how the server is reached, and ``store`` joins
them. The scripts beside them change one shard each and declare all the keys that they use.
"""

from askonce.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
