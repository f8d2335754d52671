"""What objects of installed classes say, which the code of an application's own class uses.

Three kinds: data, which is read; parts of the running program, which say nothing of an answer; and all else, which
cannot be read: the class that uses it has no key.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from askonce.keys.normal_form import Uncacheable

NOTHING: Any = object()
"""In place of what an object says that says nothing."""

_CLASSES_AS_DATA = frozenset(
    "builtins.bytearray builtins.memoryview builtins.complex builtins.range builtins.slice datetime.date"
    " datetime.time datetime.datetime datetime.timedelta datetime.timezone zoneinfo.ZoneInfo decimal.Decimal"
    " uuid.UUID fractions.Fraction array.array".split()
)
# Parts of the running program: what they hold is of this run.
_OF_THE_PROGRAM = frozenset(
    "_thread threading logging asyncio _asyncio concurrent queue _queue multiprocessing subprocess socket _socket"
    " ssl _ssl select selectors sched signal os abc _abc contextvars _contextvars gc inspect pydantic_core pydantic"
    " typing_extensions loguru structlog tqdm rich opentelemetry prometheus_client sentry_sdk anyio tenacity"
    " llama_index_instrumentation unittest".split()
)
# What they hold is another number each time. The seed of a `random.Random` counts: its state can be read.
_OF_CHANCE = frozenset(
    f"numpy.random.{name}" for name in ("_generator.Generator", "mtrand.RandomState", "bit_generator.BitGenerator")
)
# Clients, and what else is known by the name of its class or of one of its bases, in packages that answer nothing.
_CLIENT = (  # compiled when it is needed first
    r".*(Client|Session|Connection|ConnectionPool|Pool|Engine|Database|Driver|Cluster|Channel|Transport|Limiter|Tracer"
    r"|Meter|sessionmaker|scoped_session)(V\d+)?|(Strict|Async)?Redis|(Async)?Elasticsearch"
)
_OF_CLIENTS = frozenset(
    "requests aiohttp httpx httpx2 httpcore urllib3 http websockets websocket grpc curl_cffi niquests"
    # Databases, queues and files.
    " redis valkey coredis pymongo motor beanie mongoengine sqlalchemy sqlmodel psycopg psycopg2 psycopg_pool"
    " asyncpg aiosqlite sqlite3 mysql MySQLdb pymysql aiomysql asyncmy oracledb pyodbc duckdb"
    " clickhouse_connect clickhouse_driver snowflake elasticsearch elastic_transport opensearchpy qdrant_client"
    " weaviate chromadb pinecone pymilvus lancedb neo4j cassandra astrapy tortoise peewee pony databases"
    " supabase firebase_admin kafka aiokafka confluent_kafka pika aio_pika celery nats zmq minio aiobotocore"
    " botocore boto3 aioboto3 s3fs gcsfs fsspec paramiko asyncssh memcache pymemcache aiomcache diskcache"
    # Limits, traces and logs.
    " aiolimiter limits slowapi pyrate_limiter ratelimit langsmith langfuse mlflow wandb phoenix openinference"
    " traceloop logfire ddtrace datadog newrelic statsd posthog segment slack_sdk"
    " langchain_core llama_index".split()
)
# What an index or a store holds is its own affair, and what it finds is another from day to day.
_STORE = ("similarity_search", "as_retriever", "as_query_engine")
_TOO_LARGE = frozenset({"torch", "tensorflow", "keras", "jax", "jaxlib"})


def says_nothing(value: Any) -> bool:
    """Whether an object is a part of the running program, such as a lock, a logger or a client."""
    kind = type(value)
    name, package = f"{kind.__module__}.{kind.__qualname__}", kind.__module__.partition(".")[0]
    if name in ("_thread._local", "threading.local"):
        return False
    if name == "itertools.count" or package in _OF_THE_PROGRAM:
        return True
    if any(f"{base.__module__}.{base.__name__}" in _OF_CHANCE for base in kind.__mro__):
        return True
    if package == "askonce":  # caches and the like; its models have fields
        return not hasattr(kind, "__pydantic_fields__")
    if any(base.__module__ == "_io" for base in kind.__mro__) and not hasattr(kind, "getvalue"):
        return bool(value.closed) or bool(value.writable())
    is_client = any(
        base.__module__.partition(".")[0] in _OF_CLIENTS and re.fullmatch(_CLIENT, base.__name__)
        for base in kind.__mro__
    )
    return is_client or any(hasattr(kind, one) for one in _STORE)


def data_of(value: Any) -> Any:
    """What an object of a known kind of data says; `NOTHING` if it is of no such kind."""
    cls: Any
    for cls in type(value).__mro__:
        name = f"{cls.__module__}.{cls.__qualname__}"
        if name in _CLASSES_AS_DATA:
            shown = bytes(value).hex() if name.endswith("memoryview") else cls.__repr__(value)
            return [name, shown]
        if cls.__module__ == "numpy" and hasattr(value, "tobytes") and hasattr(value, "dtype"):
            if value.dtype.hasobject:
                return [name, str(value.dtype), value.tolist()]
            return [name, str(value.dtype), str(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    return NOTHING


def can_change(value: Any) -> bool:
    """Whether data can be changed in place: arrays of bytes and numbers."""
    if isinstance(value, (bytearray, memoryview)) or type(value).__module__ == "array":
        return True
    return any((one.__module__, one.__name__) == ("numpy", "ndarray") for one in type(value).__mro__)


def contents_of(value: Any) -> list[Any]:
    """What makes an object what it is, as copying it would find.

    Raises:
        Uncacheable: it does not say so, or moves on while it is used.
    """
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if hasattr(kind, "getvalue") and kind.__module__ == "_io":
        return [name, value.getvalue()]
    if any(cls.__module__.partition(".")[0] in _TOO_LARGE for cls in kind.__mro__) or hasattr(kind, "__next__"):
        raise Uncacheable(f"a {name}, which cannot be read")
    if kind.__module__ in ("_thread", "typing", "types") or name in ("weakref.ReferenceType", "weakref.ref"):
        return [name, *_special(value)]
    try:
        reduced = value.__reduce_ex__(2)
    except Exception as error:  # of its own code, or it cannot be copied
        held = getattr(value, "__dict__", None)
        if held:
            return [name, dict(held)]
        raise Uncacheable(f"a {name}, which cannot be read") from error
    if isinstance(reduced, str):
        return [name, reduced]
    make, arguments, *rest = reduced
    # An iterator over the items of a list, or over those of a map.
    return [name, make, arguments, *(list(one) if hasattr(one, "__next__") else one for one in rest)]


def _special(value: Any) -> list[Any]:
    """Of what cannot be copied, but read: values of a thread, types such as ``list[int]``, a weak reference."""
    if hasattr(type(value), "__callback__"):
        return [value()]
    names = ("__origin__", "__args__", "__bound__", "__constraints__", "__metadata__", "__forward_arg__")
    parts = [getattr(value, name, None) for name in names]
    return [*parts, str(getattr(value, "__name__", "")), dict(getattr(value, "__dict__", {}))]
