"""The clients of databases: which server, directory, database and collection each of them is for.

A client is known by its package and class, and what it holds is read; nothing is connected to.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from askonce.keys.normal_form import is_credential, is_credential_in_request, model_form
from askonce.keys.sql_engines import given, given_to_engine

Place = dict[str, Any]

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)
_LOOPBACK = re.compile(
    r"^(unix|ipc):|(^|[/@=\s\"'])(localhost|127\.[\d.]+|0\.0\.0\.0|\[?::1\]?)([:/\s\"',\]]|$)", re.IGNORECASE
)
_PASSWORD = re.compile(r"\b(password|passfile|sslpassword|pwd)\s*=\s*('[^']*'|[^\s;&]+)", re.IGNORECASE)
_USER = re.compile(r"(?<=://)([^/?#\s]*)@")
_OF_ATTEMPTS = frozenset(
    "accept accept-encoding connection content-length content-type user-agent x-elastic-client-meta x-opaque-id"
    " x-request-id traceparent tracestate".split()
)


class InMemory(NamedTuple):
    """In a place: it is in this process's memory.

    Attributes:
        part: the object that holds what is there.
    """

    part: Any


def place_in_code(client: object) -> Place | None:
    """`place_of` a client that own code uses; what is in memory says nothing, since each process has its own."""
    if not is_client(type(client)):
        return None
    place = place_of(client) or {}
    return {name: one for name, one in place.items() if not _is_in_memory(one)}


def _is_in_memory(place: Any) -> bool:
    return isinstance(place, InMemory) or (
        isinstance(place, dict) and any(_is_in_memory(one) for one in place.values())
    )


def place_of(client: object) -> Place | None:
    """Where a client, a collection, an index or an engine searches; ``None`` if that is not known."""
    cls: Any = type(client)
    for reader in _readers_of(cls):
        try:
            place = reader(client)
        except Exception:  # another version of the package, which holds it elsewhere
            continue
        return {name: value for name, value in place.items() if value not in (None, "", [], {})} or None
    return None


def is_client(cls: Any) -> bool:
    """Whether objects of a class are clients whose place is known."""
    return bool(_readers_of(cls))


def _holds_settings(cls: Any) -> bool:
    return any(one in _HOLDING_SETTINGS for one in _names_of(cls))


holds_settings: Callable[[Any], bool] = functools.lru_cache(maxsize=1024)(_holds_settings)
"""Whether what is in objects of a class, which have a place, is more than that: how they search."""


@functools.lru_cache(maxsize=1024)
def _readers_of(cls: type[Any]) -> list[_Reader]:
    return [_READERS[name] for name in _names_of(cls) if name in _READERS]


def _names_of(cls: type[Any]) -> Iterator[tuple[str, str]]:
    """The package and the name of a class and of its bases."""
    return ((one.__module__.partition(".")[0], one.__name__) for one in cls.__mro__)


def location(path: str) -> Any:
    """A directory or file, whatever the working directory; or a URL."""
    if _SCHEME.match(path):
        return path
    return {"path": os.path.abspath(os.path.expanduser(path))}


def is_loopback(address: str) -> bool:
    """Whether a URL, a host or a connection string names this machine."""
    return _LOOPBACK.search(address) is not None


def without_credentials(connection: str) -> str:
    """A URL, or a connection string of names and values, without the credentials in it.

    Whose they are counts, since a server may show other documents to another user: by a digest, for what stands
    there may be a token.
    """
    return split_credentials(connection)[0]


def split_credentials(connection: str) -> tuple[str, bool]:
    """As `without_credentials`, and whether there was a credential that says by itself whose it is: a token."""
    users = [given.partition(":")[0] for given in _USER.findall(connection)]
    left_out: list[str] = []
    shown = str(model_form({"": _PASSWORD.sub("", _USER.sub("", connection))}, left_out)[""])
    return (f"{shown} of user {credential_form(users)}" if any(users) else shown), bool(left_out)


def credential_form(value: object) -> str:
    """A credential in a form: a digest, that of equal ones being equal."""
    shown: Any = getattr(value, "get_secret_value", lambda: value)()
    return hashlib.sha256(f"credential {shown!r}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _sent(*headers: Any) -> list[list[str]]:
    """Headers that a client sends with each request: a server, or a proxy before it, may tell users by any."""
    pairs = {(str(name).lower(), str(one)) for some in headers for name, one in dict(some or {}).items()}
    return [[name, _header(name, value)] for name, value in sorted(pairs) if name not in _OF_ATTEMPTS]


def _header(name: str, value: str) -> str:
    kind, _, account = value.partition(" ")
    if name == "authorization" and kind.lower() == "basic":
        return f"user {base64.b64decode(account).decode().partition(':')[0]}"
    return credential_form(value) if is_credential_in_request(name) else value


def _account(auth: Any) -> Any:
    """Whose credentials they are."""
    if auth is None:
        return None
    if isinstance(auth, str):
        return auth.partition(":")[0]
    if isinstance(auth, (tuple, list)):
        return auth[0]
    signer = vars(getattr(auth, "signer", auth))  # of AWS
    held = {**signer, **getattr(signer.get("credentials"), "__dict__", {})}
    return [type(auth).__name__, credential_form(sorted(str(one) for one in held.values() if isinstance(one, str)))]


def _chroma_server(server: Any) -> Place:
    system = getattr(server, "_system", None)
    settings: Any = server._settings if system is None else system.settings
    if settings.chroma_server_host:
        token = settings.chroma_client_auth_credentials
        return {
            "host": settings.chroma_server_host,
            "port": settings.chroma_server_http_port,
            "sent": _sent(settings.chroma_server_headers),
            "account": token and credential_form(token),
        }
    if settings.is_persistent:
        return {"directory": location(settings.persist_directory)}
    return {"memory": InMemory(server)}


def _chroma_client(client: Any) -> Place:
    return {"tenant": client.tenant, "database": client.database, **_chroma_server(client._server)}


def _chroma_collection(collection: Any) -> Place:
    names = {name: getattr(collection, name, None) for name in ("tenant", "database")}
    with contextlib.suppress(AttributeError):  # of another version; the id is of this collection alone
        names |= _chroma_server(collection._client)
    return {"id": str(collection.id), **names}


def _qdrant(client: Any) -> Place:
    inner = client._client
    if hasattr(inner, "rest_uri"):
        return {"url": inner.rest_uri, "sent": _sent(inner._rest_headers)}
    return {"memory": InMemory(inner)} if inner.location == ":memory:" else {"directory": location(inner.location)}


def _lance(connection: Any) -> Place:
    uri = str(connection.uri)
    return {"memory": InMemory(connection)} if uri.startswith("memory:") else {"directory": location(uri)}


def _lance_table(table: Any) -> Place:
    return {"name": table.name, "in": place_of(getattr(table, "_conn", None))}


def _lance_cloud(connection: Any) -> Place:
    return {"url": connection.db_url, "region": connection.region, "host": connection.host_override}


def _milvus(client: Any) -> Place:
    config = client._config
    return {"uri": location(_milvus_file(config.uri) or config.uri), "database": config.db_name}


def _milvus_file(uri: str) -> str | None:
    """The file behind a server that runs in this process, each time on another port."""
    lite: Any = sys.modules.get("milvus_lite.server_manager")
    servers = {} if lite is None else lite.server_manager_instance._servers
    return next((path for path, (*_, port) in servers.items() if uri.endswith(f"127.0.0.1:{port}")), None)


def _pinecone(index: Any) -> Place:
    config: Any = getattr(index, "_config", None) or getattr(index, "config", None)
    return {"host": getattr(index, "host", None) or config.host}


def _mongo_hosts(client: Any) -> Place:
    settings = client._topology_settings
    hosts = sorted(f"{host}:{port}" for host, port in settings.seeds)
    account = getattr(client.options.pool_options, "_credentials", None)
    user = getattr(account, "username", None)
    return {"hosts": hosts, "cluster": getattr(settings, "fqdn", None), "user": user}


def _mongo_collection(collection: Any) -> Place:
    return {"name": collection.full_name, **_mongo_hosts(collection.database.client)}


def _redis(client: Any) -> Place:
    pool = client.connection_pool
    names = {name: pool.connection_kwargs.get(name) for name in ("host", "port", "db", "path", "username")}
    service = getattr(pool, "service_name", None)
    if service is None:
        return names
    sentinels = [place_of(one) for one in pool.sentinel_manager.sentinels]
    return {"service": service, "db": names["db"], "sentinels": sentinels}


def _redis_cluster(client: Any) -> Place:
    return {"nodes": sorted(str(one) for one in client.nodes_manager.startup_nodes)}


def _redis_index(index: Any) -> Place:
    held = {name.rpartition("__")[2].strip("_"): value for name, value in vars(index).items()}
    client, url = held.get("redis_client") or held.get("client"), held.get("redis_url")
    at = place_of(client) or (without_credentials(url) if isinstance(url, str) else None)
    return {"name": index.schema.index.name, "prefix": index.schema.index.prefix, "server": at} if at else {}


def _elastic(client: Any) -> Place:
    nodes = client._transport.node_pool.all()
    headers = [one.config.headers for one in nodes]
    return {"urls": sorted(one.base_url for one in nodes), "sent": _sent(*headers, client._headers)}


def _elastic_index(store: Any) -> Place:
    server = place_of(store.client)
    return {"index": store.index, **server} if server else {}


def _open_search(client: Any) -> Place:
    parts = ("scheme", "host", "port", "url_prefix")
    hosts = sorted("/".join(str(host.get(part) or "") for part in parts) for host in client.transport.hosts)
    given_for = [client.transport.kwargs, *client.transport.hosts]
    accounts = [_account(one.get("http_auth")) for one in given_for]
    sent = _sent(*(one.get("headers") for one in given_for))
    return {"hosts": hosts, "accounts": [one for one in accounts if one], "sent": sent}


def _open_search_index(client: Any) -> Place:
    return {"index": client._index, **(place_of(client._os_client) or {"url": client._endpoint})}


def _weaviate(client: Any) -> Place:
    embedded = getattr(client._connection, "embedded_db", None)
    options = getattr(embedded, "options", None)
    return {"url": client._connection.url, "directory": getattr(options, "persistence_data_path", None)}


def _weaviate_collection(collection: Any) -> Place:
    return {"name": collection.name, "tenant": collection.tenant, "url": collection._connection.url}


def _astra(database: Any) -> Place:
    return {"url": database.api_endpoint, "keyspace": database.keyspace}


def _astra_collection(collection: Any) -> Place:
    return {"name": collection.name, **_astra(collection.database)}


def _sqlite(connection: Any) -> Place:
    cursor = connection.cursor()
    cursor.row_factory = None
    files = [os.fsdecode(file) for _, _, file in cursor.execute("PRAGMA database_list") if file]
    return {"directory": [location(one) for one in files]}


def _sql_engine(engine: Any) -> Place:
    url, more = engine.url, given_to_engine(engine).plain
    if url.get_backend_name() == "sqlite":
        in_memory = url.database in (None, "", ":memory:")
        place = {"memory": InMemory(engine)} if in_memory else {"directory": location(url.database)}
        return {**place, "given": more}
    if not url.host and not url.database and not url.query and not more:
        return {}  # connections that the application makes
    query = {name: value for name, value in url.query.items() if not is_credential(name)}
    names = {"host": url.host, "port": url.port, "database": url.database, "user": url.username, "query": query}
    return {"dialect": url.get_backend_name(), **names, "given": more}


def bind_of(sessions: Any) -> Any:
    """The engine of a maker of sessions."""
    return getattr(sessions, "session_factory", sessions).kw["bind"]


def _postgres(connection: Any) -> Place:
    info = connection.info
    names = {"host": info.host, "port": info.port, "database": info.dbname, "user": info.user}
    return {**names, "options": info.options}


def _postgres_pool(pool: Any) -> Place:
    return {"connection": without_credentials(pool.conninfo), "given": given(pool.kwargs or {}, "argument").plain}


def _neo4j(driver: Any) -> Place:
    return {"address": ":".join(str(part) for part in driver._pool.address[:2])}


def _azure_search(client: Any) -> Place:
    return {"url": client._endpoint, "index": client._index_name}


_Reader = Callable[[Any], Mapping[str, Any]]


def _both(package: str, name: str, reader: _Reader) -> Iterator[tuple[tuple[str, str], _Reader]]:
    """The synchronous and the asynchronous class of a name."""
    for one in (name, f"Async{name}", f"{name}Async"):
        yield (package, one), reader


def _table(rows: Iterable[tuple[str, str, _Reader]]) -> dict[tuple[str, str], _Reader]:
    return {key: reader for row in rows for key, reader in _both(*row)}


_READERS = _table(
    [
        ("chromadb", "Collection", _chroma_collection),
        ("chromadb", "Client", _chroma_client),
        ("qdrant_client", "QdrantClient", _qdrant),
        ("lancedb", "LanceDBConnection", _lance),
        ("lancedb", "Connection", _lance),
        ("lancedb", "RemoteDBConnection", _lance_cloud),
        ("lancedb", "Table", _lance_table),
        ("pymilvus", "MilvusClient", _milvus),
        ("pinecone", "Index", _pinecone),
        ("pinecone", "IndexAsyncio", _pinecone),
        ("pinecone", "GRPCIndex", _pinecone),
        ("pymongo", "Collection", _mongo_collection),
        ("pymongo", "Database", lambda database: {"name": database.name, **_mongo_hosts(database.client)}),
        ("pymongo", "MongoClient", _mongo_hosts),
        ("redis", "Redis", _redis),
        ("redis", "RedisCluster", _redis_cluster),
        ("redisvl", "SearchIndex", _redis_index),
        ("elasticsearch", "Elasticsearch", _elastic),
        ("elasticsearch", "VectorStore", _elastic_index),
        ("opensearchpy", "OpenSearch", _open_search),
        ("llama_index", "OpensearchVectorClient", _open_search_index),
        ("weaviate", "WeaviateClient", _weaviate),
        ("weaviate", "WeaviateAsyncClient", _weaviate),
        ("weaviate", "Collection", _weaviate_collection),
        ("astrapy", "Database", _astra),
        ("astrapy", "Collection", _astra_collection),
        ("sqlite3", "Connection", _sqlite),
        ("sqlalchemy", "Engine", _sql_engine),
        ("sqlalchemy", "sessionmaker", lambda sessions: place_of(bind_of(sessions)) or {}),
        ("sqlalchemy", "async_sessionmaker", lambda sessions: place_of(bind_of(sessions)) or {}),
        ("sqlalchemy", "scoped_session", lambda sessions: place_of(bind_of(sessions)) or {}),
        ("langchain_postgres", "PGEngine", lambda engine: place_of(engine._pool) or {}),
        ("psycopg", "Connection", _postgres),
        ("psycopg2", "connection", _postgres),
        ("psycopg_pool", "ConnectionPool", _postgres_pool),
        ("neo4j", "Driver", _neo4j),
        ("azure", "SearchClient", _azure_search),
    ]
)
_HOLDING_SETTINGS = {
    *(name for name, _ in _both("elasticsearch", "VectorStore", _elastic_index)),
    ("llama_index", "OpensearchVectorClient"),
}
