"""The models of the demo: the offline stand-in, or the one named on the command line."""

import importlib

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from llama_index.core.llms import LLM
from offline_langchain import OfflineChatModel
from offline_llama_index import OfflineLLM

# LangChain's name of a provider -> LlamaIndex's module and class
_IN_LLAMA_INDEX = {
    "anthropic": ("llama_index.llms.anthropic", "Anthropic"),
    "google_genai": ("llama_index.llms.google_genai", "GoogleGenAI"),
    "groq": ("llama_index.llms.groq", "Groq"),
    "mistralai": ("llama_index.llms.mistralai", "MistralAI"),
    "ollama": ("llama_index.llms.ollama", "Ollama"),
    "openai": ("llama_index.llms.openai", "OpenAI"),
}


def open_models(name: str | None, delay: float) -> tuple[BaseChatModel, LLM]:
    """A model for LangChain and one for LlamaIndex.

    Args:
        name: ``provider:model`` as LangChain's `init_chat_model` takes it; ``None`` for the offline stand-in.
        delay: how slow the stand-in is.

    Raises:
        SystemExit: a package or a key is missing, or there is no such model.
    """
    if name is None:
        return OfflineChatModel(delay=delay), OfflineLLM(delay=delay)
    provider, _, model = name.partition(":")
    if provider not in _IN_LLAMA_INDEX or not model:
        supported = ", ".join(f"{provider}:..." for provider in _IN_LLAMA_INDEX)
        raise SystemExit(f"--model {name}: the demo takes {supported}")
    module, llm_class = _IN_LLAMA_INDEX[provider]
    try:
        return init_chat_model(name), getattr(importlib.import_module(module), llm_class)(model=model)
    except ModuleNotFoundError as error:
        package = module.replace(".", "-").replace("_", "-")
        raise SystemExit(f"--model {name} needs the package {package}") from error
    except Exception as error:  # each provider has errors of its own for a missing key or an unknown model
        raise SystemExit(f"--model {name}: {error}") from error
