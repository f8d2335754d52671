"""Which documents an answer came from, and what has changed since."""
