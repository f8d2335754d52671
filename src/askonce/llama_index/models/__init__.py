"""LlamaIndex's models, cached."""
