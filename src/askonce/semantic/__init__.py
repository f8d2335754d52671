"""Answers to questions that mean the same, with a bound on the share of wrong ones."""
