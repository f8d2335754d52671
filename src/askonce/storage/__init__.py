"""Storing answers: entries, freshness, hits, and the copies in this process."""
