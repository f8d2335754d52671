"""The proxy serves clients in any language: here before a stand-in for Anthropic's API, which it calls once."""

import os
import socket
import subprocess
import sys
import time

import anthropic
from offline_anthropic import OfflineAnthropic

provider = OfflineAnthropic(clock=lambda: 0.0)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [sys.executable, "-m", "askonce.cli", "proxy", "--upstream", provider.url, "--port", str(port)]
environment = {**os.environ, "ASKONCE_STORE": "memory://"}  # a URL of SQLite, Redis or MongoDB shares answers
proxy = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
try:
    while proxy.poll() is None:  # it starts
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    client = anthropic.Anthropic(api_key="a key", base_url=f"http://127.0.0.1:{port}")
    for _ in range(2):
        reply = client.messages.with_raw_response.create(
            model="claude-sonnet-4-6",
            max_tokens=100,
            messages=[{"role": "user", "content": "Which group goes first?"}],
        )
        block = reply.parse().content[0]
        print(block.text if block.type == "text" else block.type)
        print("  ", reply.headers["cache-status"].partition("; key")[0])
finally:
    proxy.terminate()
    print("exit code:", proxy.wait())
