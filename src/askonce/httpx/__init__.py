"""A transport for the clients of httpx and httpx2, and so for every SDK that is built on one of them.

    client = OpenAI(http_client=httpx2.Client(transport=CachedTransport("sqlite:///cache.db")))

Neither package is imported: a request shows which one it is of.
"""

from askonce.httpx.transport import CachedTransport

__all__ = ["CachedTransport"]
