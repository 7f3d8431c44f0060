"""Connections to HTTP and HTTPS servers, as the environment asks for them.

Proxies come from ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``; trusted certificates from
``SSL_CERT_FILE`` and ``SSL_CERT_DIR``, and besides from ``REQUESTS_CA_BUNDLE`` and ``CURL_CA_BUNDLE``.

::

    TransferError              a server does not send what it should; the text follows "URL: "
    ├── BrokenTransferError    ... but may do better at the next attempt
    └── SlowTransferError      ... fast enough, in pipeline.data.transfer
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import urllib.request
from contextlib import suppress
from http.client import HTTPConnection, HTTPMessage, HTTPResponse, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.error import URLError
from urllib.parse import urlsplit

from pipeline.web.urls import without_secrets

BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
SCHEMES = ("http", "https")


class TransferError(Exception):
    """A server does not send what it should."""


class BrokenTransferError(TransferError):
    """A server does not send what it should, but may do better at the next attempt."""


class Deadline:
    """Ends connections that last too long, whatever they wait for, once the ``with`` block has taken so many seconds.

    A socket timeout alone cannot do this: it begins anew with each byte, and a server may send headers for ever.
    """

    def __init__(self, seconds: float) -> None:
        self.has_passed = False
        self._connected: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def watch(self, connected: socket.socket) -> None:
        """End this connection, too."""
        self._connected.append(connected)
        if self.has_passed:
            self._pass()

    def _pass(self) -> None:
        self.has_passed = True
        for connected in self._connected:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)


def opener(url: str, stall_timeout: float, deadline: Deadline) -> urllib.request.OpenerDirector:
    """Return what opens an HTTP or HTTPS URL, and no other.

    The timeout that its ``open`` takes is for connecting, ``stall_timeout`` for each read, both in seconds.

    Raises
    ------
    TransferError
        The environment asks for a proxy or for certificates that cannot be used.
    """
    proxies = urllib.request.getproxies()
    for scheme in SCHEMES:
        if "all" in proxies:
            proxies.setdefault(scheme, proxies["all"])
    parts = urlsplit(url)
    kind = _kind_of_proxy(parts.scheme, proxies.get(parts.scheme, ""))
    if kind.startswith("socks") and not urllib.request.proxy_bypass(parts.netloc):
        raise TransferError(
            f"the environment asks for a {kind} proxy; expected an HTTP one: "
            f"set {parts.scheme.upper()}_PROXY=http://HOST:PORT, or list the server in NO_PROXY."
        )
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(proxies),
        _Connections(stall_timeout, deadline),
        _Redirects(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        director.add_handler(handler)
    return director


def _kind_of_proxy(scheme: str, proxy: str) -> str:
    """Return the scheme of a proxy's URL, which may lack one; the rest may hold a password, so it is never shown."""
    try:
        parts = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
        sound = not proxy or (parts.hostname and parts.port != 0 and parts.path in ("", "/"))
    except ValueError:
        sound = False
    if not sound:
        raise TransferError(
            f"{scheme.upper()}_PROXY or ALL_PROXY is no URL of a proxy; expected http://HOST:PORT or "
            "http://NAME:PASSWORD@HOST:PORT, where %2F stands for / and %40 for @."
        )
    return parts.scheme


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    for variable in BUNDLE_VARIABLES:
        bundle = os.environ.get(variable)
        if bundle:
            try:
                context.load_verify_locations(**{"capath" if Path(bundle).is_dir() else "cafile": bundle})
            except OSError as error:
                raise TransferError(
                    f"{variable} is {bundle!r}, which cannot be read as certificates ({error}). Correct or unset it."
                ) from None
    return context


class _PatientConnection(HTTPConnection):
    """Connects within ``timeout`` seconds; from then on each read may take ``stall_timeout`` seconds."""

    def __init__(self, *arguments: Any, stall_timeout: float, deadline: Deadline, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stall_timeout = stall_timeout
        self._deadline = deadline

    def connect(self) -> None:
        super().connect()
        self._deadline.watch(self.sock)
        self.sock.settimeout(self._stall_timeout)


class _PatientTLSConnection(_PatientConnection, HTTPSConnection):
    """The same over TLS, whose handshake is part of connecting."""


class _Connections(urllib.request.AbstractHTTPHandler):
    """Makes the connections, and says why one cannot be made."""

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def __init__(self, stall_timeout: float, deadline: Deadline) -> None:
        super().__init__()
        self._waiting = {"stall_timeout": stall_timeout, "deadline": deadline}

    def http_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self._connected(_PatientConnection, request)

    def https_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self._connected(_PatientTLSConnection, request, context=_tls_context())

    def _connected(self, kind: Any, request: urllib.request.Request, **options: Any) -> HTTPResponse:
        try:
            return self.do_open(kind, request, **self._waiting, **options)
        except URLError as error:
            raise _unreachable(request, error.reason) from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect unless it leads out of the web or from HTTPS down to HTTP."""

    def redirect_request(
        self, request: urllib.request.Request, answer: IO[bytes], code: int, reason: str, headers: HTTPMessage, url: str
    ) -> urllib.request.Request | None:
        answer.close()  # or else its body would be read, however long it is
        scheme, place = urlsplit(url)[:2]
        if "@" in place:
            raise TransferError(f"redirects to {without_secrets(url)} with a name or a password; expected none.")
        if scheme not in SCHEMES or (request.type == "https" and scheme == "http"):
            raise TransferError(
                f"redirects to {without_secrets(url)}; a redirect from {request.type} must lead to "
                f"{'https' if request.type == 'https' else 'http or https'}."
            )
        return super().redirect_request(request, answer, code, reason, headers, url)


def _unreachable(request: urllib.request.Request, cause: object) -> TransferError:
    """Say why there is no connection for a request: with its server, or with the proxy on the way to it."""
    server = urlsplit(request.full_url).netloc
    peer = request.host if request.host == server else f"the proxy {request.host}"
    match cause:
        case socket.gaierror():
            return BrokenTransferError(
                f"the name of {peer} cannot be resolved ({cause.strerror}): "
                "is this machine on the network, or must HTTPS_PROXY name its proxy?"
            )
        case ssl.SSLCertVerificationError():
            return TransferError(
                f"the certificate of {server} is not trusted ({cause.verify_message}): is this machine's clock right? "
                f"Certificates of your own go into SSL_CERT_FILE, now {os.environ.get('SSL_CERT_FILE', 'not set')}."
            )
        case TimeoutError():
            reason = f"no connection within {request.timeout:g} seconds (connect_timeout)"
        case ConnectionRefusedError():
            reason = "the connection was refused"
        case OSError() if str(cause).startswith("Tunnel connection failed"):
            return TransferError(
                f"{peer} does not let through to {server} ({str(cause).partition(': ')[2]}): "
                "correct HTTPS_PROXY (http://NAME:PASSWORD@HOST:PORT), or list the server in NO_PROXY."
            )
        case _:
            reason = str(cause)
    return BrokenTransferError(f"{peer} cannot be reached ({reason}).")
