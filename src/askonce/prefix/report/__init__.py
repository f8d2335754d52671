"""The report: what was lost, to what, and what to do; as text and as a page."""
