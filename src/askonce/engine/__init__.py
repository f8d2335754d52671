"""The way of one request: lookup, join or lead, call the model, store."""
