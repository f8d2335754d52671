"""The clients that were found in an object, by the field that holds them."""

from __future__ import annotations

from typing import Any

from askonce.keys.endpoints import endpoint_of, is_asynchronous
from askonce.keys.normal_form import Uncacheable


class FoundClients:
    """Collects clients, and says where they send requests."""

    def __init__(self) -> None:
        self._by_field: dict[str, list[Any]] = {}

    def add(self, name: str, client: Any) -> None:
        """A client in the field of that name; each once."""
        clients = self._by_field.setdefault(name, [])
        if not any(one is client for one in clients):
            clients.append(client)

    def endpoints(self, *, asynchronous: bool) -> list[dict[str, Any]]:
        """Where the clients send the requests of one kind of calls; each place once, those of one field together.

        Raises:
            Uncacheable: a function, which cannot be read, may change the requests.
        """
        places: list[dict[str, Any]] = []
        modes = {name: is_asynchronous(clients[0]) for name, clients in self._by_field.items()}
        fitting = [name for name, mode in modes.items() if mode in (None, asynchronous)] or list(modes)
        for name in fitting:
            several = [endpoint for client in self._by_field[name] if (endpoint := _endpoint(name, client))]
            place = {str(at): one for at, one in enumerate(several)} if len(several) > 1 else (several or [{}])[0]
            if place and place not in places:
                places.append(place)
        return places


def _endpoint(name: str, client: Any) -> dict[str, Any] | None:
    try:
        return endpoint_of(client)
    except Uncacheable as error:
        raise Uncacheable(f"the client in {name}: {error}") from error
