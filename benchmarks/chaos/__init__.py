"""What failing stores, killed processes and damaged files cost an application: ``make bench BENCH=chaos``."""
