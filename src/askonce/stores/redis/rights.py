"""What a user of Redis needs, as rules of its ACL: each command that the store sends, and those of its scripts."""

from __future__ import annotations

RIGHTS = (
    "~askonce:* +eval +evalsha +get +set +incr +del +unlink +exists +scan "
    "+hget +hmget +hset +hdel +hlen +hscan +zadd +zrem +zcard +zrange +zrangebyscore +zrangebylex "
    "+rpush +lrange +llen +ltrim +info +time"
)
"""For all but `VECTOR_RIGHTS` and `CLUSTER_RIGHTS`."""

VECTOR_RIGHTS = "+vadd +vrem +vsim +vcard +expireat +persist +zremrangebyscore"
"""Further ones for ``Semantic(search="server")``; a server before Redis 8, or Valkey, knows no such commands."""

CLUSTER_RIGHTS = "+cluster|slots +command"
"""Further ones of a cluster, whose client looks for its nodes."""
