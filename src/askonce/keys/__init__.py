"""How cache keys are built: requests in normal form."""

from askonce.keys import endpoints as endpoints  # so that own code is read with what it says of clients
