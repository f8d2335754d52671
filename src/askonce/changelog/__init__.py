"""How processes that use one store share what they learn: deltas in its change log, and snapshots beside it."""
