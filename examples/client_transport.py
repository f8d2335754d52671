"""Any SDK over httpx or httpx2 is answered from the cache: here Anthropic's own client, without a framework."""

import anthropic
import httpx2
from offline_anthropic import OfflineAnthropic

from askonce.httpx import CachedTransport

transport = CachedTransport("memory://")  # a URL keeps answers in a file or on a server
http_client = httpx2.Client(transport=transport)
provider = OfflineAnthropic(clock=lambda: 0.0)
client = anthropic.Anthropic(api_key="a key", base_url=provider.url, http_client=http_client)

for _ in range(2):
    reply = client.messages.with_raw_response.create(
        model="claude-sonnet-4-6", max_tokens=100, messages=[{"role": "user", "content": "Which group goes first?"}]
    )
    block = reply.parse().content[0]
    print(block.text if block.type == "text" else block.type)
    print("  ", reply.headers["cache-status"].partition("; key")[0])

stats = transport.cache.stats()
print(f"{stats.hits} hit, {stats.misses} miss")
