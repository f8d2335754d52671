"""Shared state of processes that use one store: deltas in its change log, and snapshots beside it."""
