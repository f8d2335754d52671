"""Conversations as seeded scripts, and the clients of both frameworks that have them with a provider."""
