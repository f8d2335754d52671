"""Prompt prefixes in LlamaIndex: tracked and optimized."""
