"""Which headers of a request are part of the key: all but those that cannot change the answer."""

from __future__ import annotations

import functools
import re

from askonce.keys.normal_form import is_credential_in_request

_OF_THE_PROTOCOL = (
    r"|host|connection|keep-alive|close|proxy-(connection|authorization|authenticate)|te|trailers?|transfer-encoding"
    r"|upgrade|expect|http2-settings|alt-used|content-(length|type|md5|digest)|(repr-)?digest|signature-input|date"
    r"|x-(ms-)?date|(.+-)?timestamp|if-.*|cache-control|pragma|priority|max-forwards|accept(-encoding|-charset)?"
)
"""Of one message: its frame, its form, its signature; ``close`` and nothing at all as ``Connection`` names them."""
_OF_ONE_ATTEMPT = (
    r"|(.+-)?(req|request|trace|span|correlation|transaction|invocation|call|attempt)-?u?u?ids?|(x-)?idempotency-key"
    r"|(.+-)?(retry|attempt)(-(count|number))?|(.+-)?timeout(-ms|-seconds)?|amz-sdk-.*|x-amz-content-sha256"
    r"|x-(ms-)?return-client-request-id|x-(request|queue)-start"
)
_OF_TRACING = (
    r"|traceparent|tracestate|baggage|b3|x-b3-.*|sentry-trace|x-datadog-.*|newrelic|x-newrelic-.*|x-cloud-trace-context"
    r"|elastic-apm-.*|uberctx-.*|jaeger-.*|x-honeycomb-.*|x-instana-.*|x-dynatrace.*|singularityheader|sw8.*|x-ot-.*"
    r"|grpc-trace-bin|request-context|correlation-context|langsmith(-.*)?|langfuse-.*|helicone-(session|property)-.*"
    r"|x-litellm-(session-id|spend-logs-metadata)|x-portkey-span-name|x-claude-code-.*|x-codex-.*"
)
"""With labels for the reports of gateways, as ``metadata`` in a body."""
_OF_AN_SDK = (
    r"|(.+-)?user-?agent|x-(stainless|fern)(-.*)?|x-goog-api-client|x-client|x-requested-with"
    r"|(x-|anthropic-|openai-)?(client|sdk)-(name|version|platform|os|arch|language)|x-app|askonce(-.*)?"
)
_OF_A_BROWSER = (
    r"|sec-.*|origin|referer|dnt|save-data|upgrade-insecure-requests|device-memory|dpr|downlink|ect|rtt|viewport-width"
    r"|.*[cx]srf.*|anthropic-dangerous-direct-browser-access|http-referer|x-title|x-openrouter-(title|categories)"
)
"""With the page and the application that send, as OpenRouter lists them."""
_OF_A_NETWORK = (
    r"|forwarded|via|x-forwarded-(for|by|host|port|prefix|proto|protocol|scheme|server|ssl|path|ur[il]|method)"
    r"|x-original-(forwarded-for|host|proto|ur[il]|method)|(.+-)?client-(ip|port)|(x-)?(real-ip|remote-addr)|x-scheme"
    r"|front-end-https|cdn-loop|x-varnish|x-envoy-.*|l5d-.*|cloudfront-.*|x-amz-cf-id|fastly-.*|(x-)?akamai-.*"
    r"|cf-(connecting-ipv?6?|pseudo-ipv4|ray|visitor|worker|ew-via|ip.*|region(-code)?|metro-code|postal-code|timezone)"
    r"|x-azure-(ref|clientip|socketip|fdid|requestchain)|x-fd-.*|x-arr-.*|x-appservice-proto|x-waws-.*|disguised-host"
    r"|was-default-hostname|x-site-deployment-id|x-vercel-(id|ip-.*|forwarded-for|ja4-digest|deployment-url)"
    r"|fly-(client-ip|region|forwarded-.*)|x-heroku-.*|x-appengine-(city.*|country|region|user-ip|https)"
)
"""What proxies and load balancers on the way add: of the connection, and not of whoever calls."""
_NEUTRAL = re.compile(_OF_THE_PROTOCOL + _OF_ONE_ATTEMPT + _OF_TRACING + _OF_AN_SDK + _OF_A_BROWSER + _OF_A_NETWORK)
"""Reviewed: whatever is not here counts, known or not, since it may choose the model, a filter or a role."""


@functools.lru_cache(maxsize=1024)
def counts(header: str) -> bool:
    """Whether a header of that name is part of the key."""
    name = header.lower().replace("_", "-")
    return _NEUTRAL.fullmatch(name) is None and not is_credential_in_request(name)
