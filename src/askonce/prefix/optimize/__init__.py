"""Requests changed so that the provider's prompt cache reads more of them."""
