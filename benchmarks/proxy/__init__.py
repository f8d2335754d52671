"""The proxy beside LiteLLM's proxy and bare servers: ``python -m benchmarks.proxy --help``.

* `programs`: wrk, and an environment of their own for LiteLLM and starlette.
* `subjects`: the processes that are measured.
* `load`: requests, their rate, latency and what they cost.
* `rounds`: measures all subjects in turns.
* `aims`: what is aimed at, and whether it was seen.
* `rows`: right and wrong answers, by the real SDKs.
* `served`: the upstream, and the bare servers. They run in the environment of their own.
"""
