"""How cache keys are built: requests in normal form."""
