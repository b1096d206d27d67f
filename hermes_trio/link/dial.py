"""Reaching the other end: TCP, TLS, and one sentence for each way in which that can fail.

The errors of the resolver, of the sockets and of TLS, and the answers of HTTP, are mapped here and nowhere
else. No text carries a token, a query or a header.
"""

from __future__ import annotations

import socket
import ssl

import trio

from hermes_trio.errors import BusyError, HermesTrioError, NobodyThereError, RefusedError, UnavailableError
from hermes_trio.link.url import LinkAddress

ByteStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
"""What a link can lie on: a TCP stream, or TLS on top of one."""


def drop_stream(stream: ByteStream) -> None:
    """Close the socket under a stream now. Whoever waits on it gets ``trio.ClosedResourceError``."""
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    transport.socket.close()


async def dial(address: LinkAddress, ssl_context: ssl.SSLContext | None) -> ByteStream:
    """Connect to an address, TLS included.

    Cancellation: abandons: nothing is left open.

    Raises:
        UnavailableError: nobody is there, or not somebody to be trusted.
    """
    try:
        tcp = await trio.open_tcp_stream(address.host, address.port)
    except OSError as error:
        raise _unreachable(address, error) from error
    if not address.secure:
        return tcp
    context = ssl_context or ssl.create_default_context()
    stream = trio.SSLStream(tcp, context, server_hostname=address.host, https_compatible=True)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        drop_stream(stream)
        raise _untrusted(address, error.__cause__) from error
    except BaseException:
        drop_stream(stream)
        raise
    return stream


def _unreachable(address: LinkAddress, error: OSError) -> UnavailableError:
    causes = error.__cause__.exceptions if isinstance(error.__cause__, ExceptionGroup) else [error]
    where = f"No sandbox daemon at {address.origin}"
    if isinstance(error, socket.gaierror):
        return UnavailableError(f"{where}: there is no such host.", mend="Check the URL.")
    if all(isinstance(cause, ConnectionRefusedError) for cause in causes):
        mend = "Start the sandbox daemon, or check the port."
        return NobodyThereError(f"{where}: nothing listens there.", mend=mend)
    return UnavailableError(f"{where}: it cannot be reached ({causes[0]}).")


def _untrusted(address: LinkAddress, cause: BaseException | None) -> RefusedError:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return RefusedError(
            f"The certificate of {address.origin} is not trusted: {cause.verify_message}.",
            mend="Give an ssl_context that knows its issuer.",
        )
    return not_a_daemon(address, "it does not speak TLS, or not ours")


def hung_up(address: LinkAddress) -> UnavailableError:
    """No refusal that stays one: a daemon that is being stopped, or a proxy without one, does it too."""
    why = "it hung up during the handshake"
    return UnavailableError(f"What listens at {address.origin} is not a sandbox daemon: {why}.")


def not_a_daemon(address: LinkAddress, why: str) -> RefusedError:
    """Somebody listens there, but not one of ours."""
    return RefusedError(f"What listens at {address.origin} is not a sandbox daemon: {why}.")


def rejected(address: LinkAddress, status: int, *, with_token: bool) -> HermesTrioError:
    """What a refusal of the upgrade means, by its HTTP status."""
    match status:
        case 401 if with_token:
            return RefusedError(
                f"The daemon at {address.origin} says that the token is wrong.",
                mend="Use the token it was started with.",
            )
        case 401:
            return RefusedError(
                f"The daemon at {address.origin} wants a token.", mend="Give the one it was started with."
            )
        case 503:
            return BusyError(f"the daemon at {address.origin} has no room for another connection")
        case _:
            return not_a_daemon(address, f"it answers HTTP {status}")
