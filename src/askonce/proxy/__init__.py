"""The HTTP proxy in front of providers: ``askonce proxy``. What is cached, ``askonce.wire`` decides.

* `config`: its settings, from a TOML file.
* `tenants`: keys of its own, and whose they are.
* `upstream`: the way to the providers.
* `call`: one request to it, and its response; `reading`: what a request is for, and which provider it goes to.
* `tape`: what one call of a provider gives, for all who wait for it in this process.
* `answers` and `embeddings`: the cached requests. All others are passed on by `relay`.
* `own_paths`: what goes to no provider, and the OpenAPI document; `admin` responds there.
* `app`: the ASGI application; `serve`: its server.
"""
