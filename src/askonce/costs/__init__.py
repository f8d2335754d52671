"""Costs of answers."""
