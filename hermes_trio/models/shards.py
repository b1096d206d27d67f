"""Many small connection pools instead of one large one.

httpx's pool walks over all of its connections for every request: with 512 requests under way one client
manages 57 requests/s where 32 clients of 16 connections manage 1,417 (``docs/design``). So requests are
spread over shards of at most :data:`CONNECTIONS_PER_SHARD` connections, the least loaded first, and a
shard is added when all are full: the number of connections follows the number of requests under way, and
no request ever queues inside httpx.
"""

from __future__ import annotations

import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
import trio
from attrs import define, field

from hermes_trio.errors import ClosedError

CONNECTIONS_PER_SHARD = 16

KEEP_ALIVE_S = 4.0
"""uvicorn (vLLM, SGLang) and hypercorn close an idle connection after 5 s. Letting go first avoids the
race in which a request meets a connection that is being closed."""

CLOSE_LIMIT_S = 2.0


@define(eq=False)
class Shard:
    """One pool, and how many requests it has under way."""

    client: httpx.AsyncClient
    in_flight: int = 0


@define(eq=False, kw_only=True)
class ShardedClients:
    """The pools of one chat client. Opened without I/O: connections come with the first request.

    Args:
        connect_timeout: seconds until a connection attempt is given up.
        is_secure: connections are made with TLS.
        trust_environment: use the proxy that the environment names.
    """

    connect_timeout: float
    is_secure: bool
    trust_environment: bool
    _shards: list[Shard] = field(factory=list, init=False)
    _closed: bool = field(default=False, init=False)
    _ssl_context: ssl.SSLContext | None = field(default=None, init=False)

    @property
    def in_flight(self) -> int:
        """Requests under way now."""
        return sum(shard.in_flight for shard in self._shards)

    @property
    def shards(self) -> int:
        """Pools open now."""
        return len(self._shards)

    def take(self) -> Shard:
        """The least loaded pool, for one request; give it back to :meth:`give_back`.

        Raises:
            ClosedError: after :meth:`aclose`.
        """
        if self._closed:
            raise ClosedError("the chat client is closed")
        shard = self._least_loaded()
        shard.in_flight += 1
        return shard

    def give_back(self, shard: Shard) -> None:
        """The request is over, and its connection idle or closed."""
        shard.in_flight -= 1

    def _least_loaded(self) -> Shard:
        free = [shard for shard in self._shards if shard.in_flight < CONNECTIONS_PER_SHARD]
        if not free:
            self._shards.append(Shard(self._new_client()))
            return self._shards[-1]
        return min(free, key=lambda shard: shard.in_flight)

    def _new_client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(
            max_connections=CONNECTIONS_PER_SHARD,
            max_keepalive_connections=CONNECTIONS_PER_SHARD,
            keepalive_expiry=KEEP_ALIVE_S,
        )
        return httpx.AsyncClient(
            limits=limits,
            timeout=httpx.Timeout(None, connect=self.connect_timeout),
            # One trajectory's cookies are not the next one's, and a server could send them without end.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            verify=self._shared_ssl_context() if self.is_secure or self.trust_environment else False,
            trust_env=self.trust_environment,
        )

    def _shared_ssl_context(self) -> ssl.SSLContext:
        # Reading the certificates takes longer than everything else about a new client.
        if self._ssl_context is None:
            self._ssl_context = httpx.create_ssl_context(trust_env=self.trust_environment)
        return self._ssl_context

    async def aclose(self) -> None:
        """Close every connection; idempotent.

        Cancellation: *shielded, at most 2 s*.
        """
        self._closed = True
        shards, self._shards = self._shards, []
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            for shard in shards:
                await shard.client.aclose()
            await trio.lowlevel.checkpoint()
