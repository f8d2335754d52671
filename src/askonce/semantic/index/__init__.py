"""Which questions were answered, and which of them are nearest."""
