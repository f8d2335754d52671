"""LangChain's requests in normal form."""
