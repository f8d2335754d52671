"""LlamaIndex's requests in normal form."""
