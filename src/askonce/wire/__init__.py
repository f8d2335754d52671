"""Requests and replies as HTTP carries them: what the client transport and the proxy share. No I/O.

* `requests.read_request`: which API a request calls, and its normal form.
* `directives.read_directives`: what its headers demand of the cache.
* `replies`: which replies are stored, and how a stored one is replayed, plain or as a stream.
* `embeddings`: one entry for each text.
* `headers`: which headers are stored, and what a reply says of the cache.
"""
