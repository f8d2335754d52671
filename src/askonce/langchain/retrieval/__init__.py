"""LangChain's retrievers, cached, and their vector stores, watched."""
