"""From an answer to what the store holds, and back: entries, freshness, hits, and the copies in this process."""
