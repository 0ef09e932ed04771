"""A small upload server on loopback, for trials and tests.

It serves resumable and plain uploads, keeps exactly the bytes that arrived,
and notes what every client did. It can misbehave, by plain data.

========== =========================================================
path       what is there
========== =========================================================
/rufh...   RUFH, the IETF draft, with 104s; plain uploads too
/tus...    tus 1.0.0
/form...   plain uploads only
/uploads/  the upload resources of both protocols
========== =========================================================
"""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from .behaviour import Behaviour, Rule
from .http1 import Answer, Connection, Head
from .observed import Delivery, RequestSeen, UploadSeen
from .service import Service
from .site import Site
from .sockets import LOOPBACK, listen, no_delay

_NO_RULE = Rule()

#: Seconds that a request waits at most for older connections.
_CATCHING_UP = 0.25


class _Scripted:
    """A rule, and how often it is still to be passed over and to hold."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.skip, self.times = rule, rule.skip, rule.times


class Receiver:
    """A server on 127.0.0.1, up while it is entered.

    Uploads are kept in *directory*, and are still there for another receiver
    over the same directory; None: a temporary one, which ends with this
    receiver. *port* 0 takes a free one. *tls* serves https with that context.
    *rules* apply to single requests, before *behaviour*; *on_request* is asked
    before either and answers by itself unless it returns None.

    Raises:
        OSError: on entering, the port is taken.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        behaviour: Behaviour | None = None,
        rules: Iterable[Rule] = (),
        on_request: Callable[[Head], Answer | None] | None = None,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._wanted_directory, self._wanted_port = directory, port
        self._first_behaviour = behaviour or Behaviour()
        self._rules = [_Scripted(rule) for rule in rules]
        self._on_request = on_request
        self._tls = tls
        self._lock = threading.Lock()
        self._connections: dict[Connection, threading.Thread] = {}
        self._site: Site | None = None
        self._closing: contextlib.ExitStack | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Begin to listen; what entering does."""
        with contextlib.ExitStack() as stack:
            directory = self._wanted_directory
            if directory is None:
                temporary = tempfile.TemporaryDirectory(prefix="poster-receiver-")
                directory = Path(stack.enter_context(temporary))
            self._site = Site(directory, self._first_behaviour)
            listener = stack.enter_context(listen(self._wanted_port))
            self._port: int = listener.getsockname()[1]
            waking, waker = socket.socketpair()
            stack.enter_context(waking)
            stack.enter_context(waker)
            stack.callback(self._stop_connections)
            thread = threading.Thread(
                target=self._accept, args=(listener, waking), name="receiver"
            )
            thread.start()
            stack.callback(thread.join)
            stack.callback(waker.send, b"x")
            self._closing = stack.pop_all()

    def close(self) -> None:
        """Cut every connection and stop; what leaving does."""
        closing, self._closing = self._closing, None
        if closing is not None:
            closing.close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        self._entered()
        return self._port

    @property
    def url(self) -> str:
        """Its address, without a path: ``http://127.0.0.1:port``."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{LOOPBACK}:{self.port}"

    @property
    def directory(self) -> Path:
        """Where uploads are kept."""
        return self._entered().storage.directory

    @property
    def behaviour(self) -> Behaviour:
        """How it behaves towards every request; may be replaced at any time."""
        return self._first_behaviour if self._site is None else self._site.behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._first_behaviour = behaviour
        if self._site is not None:
            self._site.adopt(behaviour)

    def script(self, *rules: Rule) -> None:
        """Add *rules* behind those that there are; the first that matches holds."""
        with self._lock:
            self._rules.extend(_Scripted(rule) for rule in rules)

    @property
    def requests(self) -> list[RequestSeen]:
        """Every request so far, in the order of their ends."""
        return list(self._entered().requests)

    @property
    def deliveries(self) -> list[Delivery]:
        """Every representation that has come in whole, in that order."""
        return list(self._entered().deliveries)

    @property
    def uploads(self) -> list[UploadSeen]:
        """Every upload, those that are gone included, oldest first."""
        return self._entered().uploads()

    @property
    def received(self) -> int:
        """All bytes of content that have come in, whatever became of them."""
        return self._entered().received

    def delivery(self) -> Delivery:
        """Return the only delivery.

        Raises:
            AssertionError: there are none or several.
        """
        deliveries = self.deliveries
        if len(deliveries) != 1:
            raise AssertionError(f"{len(deliveries)} deliveries, expected one")
        return deliveries[0]

    def wait(self, condition: Callable[[Receiver], bool], timeout: float = 30) -> None:
        """Wait until *condition* holds of this receiver.

        It is asked again whenever content came in or a request ended.

        Raises:
            TimeoutError: it did not within *timeout* seconds.
        """
        if not self._entered().wait(lambda: condition(self), timeout):
            raise TimeoutError(f"the condition did not hold within {timeout:g} s")

    def forget(self) -> None:
        """Lose every upload that is not complete, as servers do that clean up."""
        for stored in self._entered().storage.all():
            if not stored.complete and not stored.record.gone:
                stored.remove()

    def _entered(self) -> Site:
        if self._site is None:
            raise RuntimeError(
                "the receiver is not up: enter it by with, or start() it"
            )
        return self._site

    def _accept(self, listener: socket.socket, waking: socket.socket) -> None:
        numbers = itertools.count()
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(waking, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if waking in ready:
                    return
                try:
                    sock, _ = listener.accept()
                except OSError:  # the client is gone already
                    continue
                connection = Connection(self._secured(sock), next(numbers))
                thread = threading.Thread(
                    target=self._serve,
                    args=(connection,),
                    name=f"receiver-{connection.number}",
                )
                with self._lock:
                    self._connections[connection] = thread
                    thread.start()

    def _secured(self, sock: socket.socket) -> socket.socket:
        sock.setblocking(True)
        no_delay(sock)
        if self._tls is None:
            return sock
        # The handshake is left to the connection's own thread.
        return self._tls.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False
        )

    def _serve(self, connection: Connection) -> None:
        site = self._entered()
        try:
            if not connection.handshake():
                return
            for exchange in connection.exchanges():
                Service(
                    site,
                    exchange,
                    self._on_request,
                    self._take_rule,
                    partial(self._catch_up, connection),
                ).run()
        finally:
            connection.close()
            with self._lock:
                del self._connections[connection]

    def _catch_up(self, connection: Connection) -> None:
        """Let older connections hand in what they have got.

        A client that was cut off and asks for the offset on a new connection
        would else hear of less than has arrived, by an accident of threads.
        """
        until = time.monotonic() + _CATCHING_UP
        with self._lock:
            others = [c for c in self._connections if c.number < connection.number]
        for other in others:
            while other.behind() and time.monotonic() < until:
                with self._lock:
                    if other not in self._connections:
                        break
                time.sleep(0.001)

    def _take_rule(self, head: Head, method: str, completing: bool) -> Rule:
        with self._lock:
            for place, scripted in enumerate(self._rules):
                if not scripted.rule.matches(head, method, completing):
                    continue
                if scripted.skip > 0:
                    scripted.skip -= 1
                    continue
                if scripted.times is not None:
                    scripted.times -= 1
                    if scripted.times <= 0:
                        del self._rules[place]
                return scripted.rule
        return _NO_RULE

    def _stop_connections(self) -> None:
        with self._lock:
            connections = dict(self._connections)
        for connection in connections:
            connection.stop()
        for thread in connections.values():
            thread.join()
