"""Size limits: which entry is evicted when a namespace is full, and how often keys are requested."""
