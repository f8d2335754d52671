"""How cache keys are built: requests in normal form."""

from askonce.keys import endpoints as endpoints  # code of own classes is read with what it says of clients
