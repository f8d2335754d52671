"""Estimators, independent of caches: bounds that hold at all times, regressions, 16-bit vectors."""
