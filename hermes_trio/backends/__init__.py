"""Where sandbox daemons come from. One file for each engine; all of them fill an endpoint board."""

from hermes_trio.backends.base import Backend, BoardSnapshot, DaemonEndpoint, EndpointBoard
from hermes_trio.backends.local import open_local_backend
from hermes_trio.backends.static import open_static_backend

__all__ = [
    "Backend",
    "BoardSnapshot",
    "DaemonEndpoint",
    "EndpointBoard",
    "open_local_backend",
    "open_static_backend",
]
