"""The documents that an answer came from, and their changes since."""
