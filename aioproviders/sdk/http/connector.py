"""The connection pool under the transport: aiohttp's connector, made exact.

What `Connector.connect` raises means "not one byte of the request was sent"; what fails after it may have
been sent. So the line that a retry policy needs is drawn in one place, not guessed from messages.
"""

import asyncio
import ssl
import time
from collections import OrderedDict
from math import inf

import aiohttp
import anyio
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from aioproviders.phases import recorded_phases
from aioproviders.sdk.http.wire_errors import bare_cause, not_sent


class Slots:
    """A FIFO semaphore: whoever asked first is served first, and a cancelled waiter loses nobody's slot.

    aiohttp's own queue picks a waiter by chance, so with more calls than connections some wait as long as the
    whole run. Loop futures are used directly, because a slot is handed over in callbacks, which can't await;
    and one timer serves the whole queue: a timer a waiter costs as much as all the rest of the waiting.

    Args:
        limit: Slots in all; None means that there is no limit.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.in_use = 0
        self._waiters: OrderedDict[asyncio.Future[bool], float] = OrderedDict()  # and until when they wait
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Callers in the queue."""
        return len(self._waiters)

    def take(self) -> bool:
        """Take a slot without waiting; False where none is free."""
        # A freed slot goes straight to the first waiter, so a free one means that nobody waits.
        if self.limit is not None and self.in_use >= self.limit:
            return False
        self.in_use += 1
        return True

    async def wait(self, timeout: float | None) -> bool:  # noqa: ASYNC109 -- the timer is the queue's
        """Wait in the queue for a slot.

        Args:
            timeout: Seconds to wait at most; None means for ever.

        Returns:
            Whether a slot was got; False after the timeout or when the pool was closed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        until = inf if timeout is None else loop.time() + timeout
        self._waiters[future] = until
        if timeout is not None and (self._timer is None or until < self._timer.when()):
            self._set_timer(loop, until)
        try:
            return await future
        except BaseException:
            if future.done() and not future.cancelled() and future.result():
                self.release()  # handed over at the very moment of the cancellation: pass it on
            raise
        finally:
            self._waiters.pop(future, None)
            if not self._waiters and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def release(self) -> None:
        """Give a slot back, to the first who waits."""
        while self._waiters:
            future, _ = self._waiters.popitem(last=False)
            if not future.done():
                future.set_result(True)
                return
        self.in_use -= 1

    def close(self) -> None:
        """Send everybody in the queue away."""
        for future in list(self._waiters):
            self._give_up(future)

    def _set_timer(self, loop: asyncio.AbstractEventLoop, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(until, self._give_up_late_ones, loop)

    def _give_up_late_ones(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for future in [future for future, until in self._waiters.items() if until <= now]:
            self._give_up(future)
        # Those served in time left no trace in the timer: it is set anew for who is left.
        following = min(self._waiters.values(), default=inf)
        if following < inf:
            self._set_timer(loop, following)

    def _give_up(self, future: asyncio.Future[bool]) -> None:
        del self._waiters[future]
        if not future.done():
            future.set_result(False)


class Connector(aiohttp.TCPConnector):
    """A TCP connector that honours all of ``httpx.Limits`` and knows each of its open connections.

    It does not queue: whoever uses it holds a slot (`Slots`) already.

    Args:
        limits: ``max_connections`` counts idle ones too (the longest idle is closed to make room for a new
            one); ``keepalive_expiry`` is in seconds.
        ssl_context: What TLS connections are made with; None is aiohttp's default, for clients without TLS.
    """

    def __init__(self, limits: httpx.Limits, ssl_context: ssl.SSLContext | None) -> None:
        super().__init__(
            limit=0,  # the queue stands in front, and is fair
            keepalive_timeout=limits.keepalive_expiry,
            ssl=True if ssl_context is None else ssl_context,
            timeout_ceil_threshold=float("inf"),
        )
        self._max_open = limits.max_connections
        self._max_idle = limits.max_keepalive_connections
        self._open: dict[asyncio.Future[None], asyncio.BaseTransport] = {}
        self._emptied: anyio.Event | None = None

    @property
    def open_connections(self) -> int:
        """Connections whose socket is not closed yet, whether in use, idle or closing."""
        return len(self._open)

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- aiohttp's signature
    ) -> Connection:
        """Get a connection from the pool or make one.

        Raises:
            httpx.ConnectTimeout: DNS, TCP, proxy and TLS together took longer than the connect timeout.
            httpx.ProxyError: The proxy could not be reached or refused the tunnel.
            httpx.ConnectError: Anything else. Whichever it is, the request was not sent.
        """
        try:
            return await super().connect(req, traces, timeout)
        except Exception as exc:  # noqa: BLE001 -- whatever it is, it happened before the request was sent
            error, cause = not_sent(exc, req), bare_cause(exc)
        raise error from cause

    async def drained(self) -> None:
        """Abort what is still open and wait until the loop has closed every socket."""
        for transport in list(self._open.values()):
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
        while self._open:
            self._emptied = anyio.Event()
            await self._emptied.wait()

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- aiohttp's signature
    ) -> ResponseHandler:
        self._make_room()
        started = time.perf_counter()
        try:
            protocol = await super()._create_connection(req, traces, timeout)
        finally:
            if (phases := recorded_phases()) is not None:
                phases.connecting += time.perf_counter() - started
        closed = protocol.closed
        if closed is not None and protocol.transport is not None:
            self._open[closed] = protocol.transport
            closed.add_done_callback(self._forget)
        return protocol

    def idle(self, key: ConnectionKey) -> Connection | None:
        """Take an idle connection that still serves; None where there is none."""
        found = self._conns.get(key)
        while found:
            protocol, since = found.popleft()
            if not found:
                del self._conns[key]
            # Bytes that came while the connection was idle (a 408 before closing, say) are no answer to the
            # next request (RFC 9112, 9.2).
            fresh = self._keepalive_timeout is None or time.monotonic() - since <= self._keepalive_timeout
            if fresh and protocol.is_connected() and not protocol.should_close:
                self._acquired.add(protocol)
                return Connection(self, key, protocol, self._loop)
            protocol.close()
        return None

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:  # noqa: ARG002 -- aiohttp's signature
        return self.idle(key)

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        if should_close and protocol.transport is not None:
            # Given up in the middle of something: an orderly end would wait for a peer that may not listen.
            protocol.transport.abort()
        full = self._max_idle is not None and self._idle() >= self._max_idle
        super()._release(key, protocol, should_close=should_close or full)

    def _idle(self) -> int:
        return sum(map(len, self._conns.values()))

    def _make_room(self) -> None:
        if self._max_open is None:
            return
        while self._conns and len(self._acquired) + self._idle() > self._max_open:
            key = min(self._conns, key=lambda key: self._conns[key][0][1])  # the longest idle
            protocol, _ = self._conns[key].popleft()
            if not self._conns[key]:
                del self._conns[key]
            protocol.close()

    def _forget(self, closed: asyncio.Future[None]) -> None:
        self._open.pop(closed, None)
        if self._emptied is not None and not self._open:
            self._emptied.set()
        if not closed.cancelled():
            closed.exception()  # a connection lost in anger is reported to its request, not by the loop
