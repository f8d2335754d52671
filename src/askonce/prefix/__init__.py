"""Prompt prefixes: what the provider's prompt cache read, what it missed, and why."""
