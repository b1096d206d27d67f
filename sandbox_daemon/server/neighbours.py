"""Who is at the other end of a connection from this very host: a slot is not let in.

A slot that was given the network has the host's, loopback included. The daemon's port is then within its
reach; but the kernel knows whose socket the other end is, and slots have uids that nobody else has.

Source: sock_diag(7), linux/inet_diag.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Collection
from typing import Any, Final

from hermes_trio.telemetry.log import get_logger

logger = get_logger(__name__)

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST: Final = 1
_HEADER: Final = struct.Struct("=IHHII")
_WISH: Final = struct.Struct("=BBBxI")
_PORTS: Final = struct.Struct("!HH")
_ANY_INTERFACE_OR_COOKIE: Final = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_UID: Final = struct.Struct("=I")
_UID_OFFSET: Final = _HEADER.size + 4 + 48 + 12
"""After the state (4 bytes), the socket's id (48) and three counters."""
_ANSWER_LIMIT_S: Final = 1.0
_ALL_STATES: Final = 0xFFFFFFFF


def owner_of(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> int | None:
    """The uid of this host's socket that is connected from ``theirs`` to ``ours``; ``None``: there is none.

    ``OSError`` when the kernel cannot be asked.
    """
    address, our_address = ipaddress.ip_address(theirs[0]), ipaddress.ip_address(ours[0])
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    ends = [end.packed.ljust(16, b"\0") for end in (address, our_address)]
    wish = _WISH.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES)
    wish += _PORTS.pack(theirs[1], ours[1]) + b"".join(ends) + _ANY_INTERFACE_OR_COOKIE
    header = _HEADER.pack(_HEADER.size + len(wish), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as ask:
        ask.settimeout(_ANSWER_LIMIT_S)  # the kernel answers within the send
        ask.send(header + wish)
        answer = ask.recv(4096)
    kind = _HEADER.unpack_from(answer)[1]
    if kind != _SOCK_DIAG_BY_FAMILY:
        return None
    return int(_UID.unpack_from(answer, _UID_OFFSET)[0])


class Neighbours:
    """Judges connections for :func:`hermes_trio.link.serve.serve_websocket_links`.

    Args:
        slots: uids of the slots; empty where they have none of their own.
    """

    def __init__(self, slots: Collection[int]) -> None:
        self._slots = slots

    def admit(self, ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> bool:
        """Whether the other end may speak. One that cannot be told from a stranger may: it needs a token."""
        if not self._slots:
            return True
        try:
            uid = owner_of(ours, theirs)
        except (OSError, ValueError) as error:
            logger.warning("who connects cannot be told", peer=theirs, reason=error)
            return True
        if uid is None or uid not in self._slots:
            return True
        logger.warning("a slot tried the daemon's port", uid=uid)
        return False
