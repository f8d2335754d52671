"""Redis 6.2 or newer and Valkey: a single server, Sentinel or Cluster.

``plans`` defines the commands of each operation, ``connect`` opens clients, and ``store`` joins them. Each Lua
script changes one shard and declares all the keys that it uses.
"""

from askonce.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
