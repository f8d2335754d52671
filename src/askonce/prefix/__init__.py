"""Prompt prefixes: what the provider's prompt cache read, what it missed, what that cost, and why.

From the ground up:

    rules        the providers' rules, as data
    wire         a request's body -> blocks in the order in which they are hashed
    tokens       how many tokens a block has: counted, or learned
    chain        blocks -> segments with running digests and lengths
    prediction   chain + rule + what the provider keeps -> what is read and written
    history      what was sent lately, in memory;  exchange  shares it with other processes
    losses       what could have been read and was not;  difference  the smallest difference of two texts
    diagnosis    what became of a request, and why;  costs  what was lost in money
    aggregates   sums for reports
    tracker      joins them: `PrefixTracker`
"""

from askonce.prefix.tracker import Call, PrefixTracker

__all__ = ["Call", "PrefixTracker"]
