"""What providers are sent and report, and the rules of their prompt caches."""
