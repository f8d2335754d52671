"""LangChain's models, cached."""
