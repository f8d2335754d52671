"""Prompt prefixes in LangChain: tracked and optimized."""
