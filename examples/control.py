"""The options of a request: an age limit, to be made anew, tags, a tenant's own answers."""

from langchain_core.language_models import BaseChatModel
from offline_langchain import OfflineChatModel

from askonce import Cache, cache_options
from askonce.langchain import cached


def show(model: BaseChatModel, what: str) -> None:
    prompt = [("system", "The red bicycle costs 300 euros."), ("human", "What does the bicycle cost?")]
    mark = model.invoke(prompt).response_metadata.get("askonce")
    print(f"{what:34} {'the model was called' if mark is None else 'from the cache'}")


with Cache("memory://", ttl=3600) as cache:  # answers are used for an hour
    model = cached(OfflineChatModel(delay=0.1), cache)
    with cache_options(tags=["prices"]):
        show(model, "first")
    show(model, "again")
    with cache_options(ttl=60):
        show(model, "ttl=60, no older than a minute")
    with cache_options(bypass=True):
        show(model, "bypass=True, as if without a cache")
    with cache_options(refresh=True, tags=["prices"]):
        show(model, "refresh=True, made anew and stored")
    with cache_options(namespace="tenant-7"):
        show(model, 'namespace="tenant-7", its first')
        show(model, 'namespace="tenant-7", again')
    print(f"the prices change: {cache.invalidate('prices')} answer with the tag is invalidated")
    show(model, "after that")
    with cache_options(namespace="tenant-7"):
        show(model, "tenant-7 has its own answers")
