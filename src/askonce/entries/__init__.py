"""An entry: plain values, and their bytes."""
