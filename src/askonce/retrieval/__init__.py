"""Cached retrieval: what the retrievers of both frameworks share."""
