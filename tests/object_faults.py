"""A proxy on loopback, before a server of objects, that breaks what goes through it as a test tells it."""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tests.loopback import LoopbackServer
from tests.object_store import Place

OF_A_CONNECTION = {"connection", "content-length", "keep-alive", "transfer-encoding"}
"""Headers that the proxy does not pass on, since they say something of one connection."""


class Request(NamedTuple):
    method: str
    path: str


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Fault:
    """What befalls the requests of some methods whose path, with the query, matches a pattern."""

    befalls: Befalls
    methods: str
    path: str
    chance: float
    every: int
    seen: int = 0

    def strikes(self, request: Request, chances: random.Random) -> bool:
        if request.method not in self.methods.split() or not re.search(self.path, request.path):
            return False
        self.seen += 1
        return self.seen % self.every == 0 and chances.random() < self.chance


class FaultyProxy(LoopbackServer):
    """Passes requests on to an endpoint, except for those that a fault befalls."""

    def __init__(self, endpoint: str, seed: int = 0) -> None:
        self.requests: list[Request] = []
        self.server = urlsplit(endpoint).netloc
        self._faults: list[Fault] = []
        self._random = random.Random(seed)
        super().__init__(type("HandlerOfTest", (Handler,), {"proxy": self}))
        self.endpoint = f"http://{self.host}"

    def breaks(
        self,
        befalls: Befalls,
        methods: str = "GET HEAD PUT POST DELETE",
        path: str = "",
        *,
        chance: float = 1,
        every: int = 1,
    ) -> None:
        """Let a fault befall all such requests, some by chance, or every so many; the first fault that does counts."""
        self._faults.append(Fault(befalls, methods, path, chance, every))

    def heals(self) -> None:
        """End all faults, and forget the requests so far."""
        with self._lock:
            self._faults.clear()
            self.requests.clear()

    def count(self, method: str, path: str = "") -> int:
        return sum(request.method == method and bool(re.search(path, request.path)) for request in self.requests)

    def take(self, request: Request) -> Befalls:
        """Note a request, and return what befalls it."""
        with self._lock:
            self.requests.append(request)
            struck = (fault.befalls for fault in self._faults if fault.strikes(request, self._random))
            return next(struck, nothing)


class Handler(BaseHTTPRequestHandler):
    """A request, with what a fault can do to it."""

    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.proxy.take(Request(self.command, unquote(self.path)))(self)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def ask(self) -> Answer:
        """Pass the request on. Its Host stays, since it is signed."""
        with contextlib.closing(http.client.HTTPConnection(self.proxy.server, timeout=60)) as connection:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in OF_A_CONNECTION:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(self.body)))
            connection.endheaders(self.body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())

    def begin(self, answer: Answer, length: int | None) -> None:
        """Send status and headers, and a length, be it true or not."""
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in OF_A_CONNECTION:
                self.send_header(name, value)
        told = dict(answer.headers).get("Content-Length") if self.command == "HEAD" else length
        self.send_header("Content-Length", str(told or 0))
        self.end_headers()

    def give(self, answer: Answer) -> None:
        self.begin(answer, len(answer.body))
        self.wfile.write(answer.body)

    def wait(self, seconds: float | None = None) -> None:
        """Wait until so many seconds are over, or the test is."""
        self.proxy.closing.wait(seconds)

    def hang_up(self) -> None:
        """End the connection as a server does that dies."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Befalls = Callable[[Handler], None]


def nothing(request: Handler) -> None:
    request.give(request.ask())


def hangs(request: Handler) -> None:
    """Take the request and never answer."""
    request.wait()
    request.hang_up()


def hangs_up(request: Handler) -> None:
    """Take the request and end the connection."""
    request.hang_up()


def loses_answer(request: Handler) -> None:
    """Do what was asked for, and end the connection without an answer."""
    request.ask()
    request.hang_up()


def says(status: int, code: str) -> Befalls:
    """Refuse with a status and one of S3's codes."""
    page = f"<Error><Code>{code}</Code><Message>A fault of the test.</Message></Error>".encode()
    return lambda request: request.give(Answer(status, [("Content-Type", "application/xml")], page))


def drips(request: Handler) -> None:
    """Send a byte a second."""
    answer = request.ask()
    request.begin(answer, len(answer.body))
    for byte in answer.body:
        request.wfile.write(bytes([byte]))
        request.wait(1)


def alters(change: Callable[[bytes], bytes]) -> Befalls:
    """Change what an object has, and say that it was so."""

    def befalls(request: Handler) -> None:
        answer = request.ask()
        request.give(answer._replace(body=change(answer.body)) if answer.status < 300 else answer)

    return befalls


wrong_bytes = alters(lambda body: body.translate(bytes(reversed(range(256)))))
"""Other bytes, as many as there should be."""

shorter = alters(lambda body: body[: len(body) // 2])
longer = alters(lambda body: body + b"more")


def breaks_off(request: Handler) -> None:
    """Send half of what is announced."""
    answer = request.ask()
    request.begin(answer, len(answer.body))
    request.wfile.write(answer.body[: len(answer.body) // 2])
    request.hang_up()


def endless(request: Handler) -> None:
    """Send 10 GB of zeros."""
    size, piece = 10 << 30, bytes(1 << 20)
    request.begin(request.ask(), size)
    for _ in range(size // len(piece)):
        request.wfile.write(piece)


def unconditional(bucket: Place) -> Befalls:
    """Write an object although it is there: some servers ignore If-None-Match, which is signed here."""
    store, name = bucket.open(), urlsplit(bucket.url).netloc

    def befalls(request: Handler) -> None:
        import obstore

        if "If-None-Match" in request.headers:
            written = obstore.put(store, unquote(request.path).removeprefix(f"/{name}/"), request.body)
            request.give(Answer(200, [("ETag", str(written["e_tag"]))], b""))
        else:
            nothing(request)

    return befalls


def nobody() -> str:
    """Return an endpoint at which nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{closed.getsockname()[1]}"
