"""A network of hosts on this machine: each is a network namespace with an address, and a cable to a hub with servers.

A thread that has entered a host starts processes there. What lives as long as the tests, such as `libraries`, and the
threads of obstore, must not start there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import pytest

CLONE_NEWNET = 0x40000000
"""From Linux's ``sched.h``."""
OWN = "/proc/thread-self/ns/net"
"""The network namespace of a thread."""


class Host:
    """A network namespace with an address; it ends when it is closed and its last process has ended."""

    def __init__(self, address: str) -> None:
        self.address = address
        with _elsewhere("unshare", CLONE_NEWNET):
            self._namespace = os.open(OWN, os.O_RDONLY)
        self.ip("link set lo up")

    @property
    def path(self) -> str:
        """The namespace's name in commands of other processes."""
        return f"/proc/{os.getpid()}/fd/{self._namespace}"

    def entered(self) -> AbstractContextManager[None]:
        """Return a context in which this thread, and the processes that it starts, are on the host."""
        return _elsewhere("setns", self._namespace, CLONE_NEWNET)

    def ip(self, arguments: str) -> None:
        with self.entered():
            subprocess.run(["ip", *arguments.split()], check=True)

    def close(self) -> None:
        os.close(self._namespace)


class Network:
    """A hub, which is a host too, and the other hosts."""

    def __init__(self, hosts: int) -> None:
        self.hub = Host("10.9.0.1")
        self.hub.ip("link add cables type bridge")
        self.hub.ip(f"address add {self.hub.address}/24 dev cables")
        self.hub.ip("link set cables up")
        self.hosts = [self._host(f"10.9.0.{number}", f"cable{number}") for number in range(2, 2 + hosts)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for host in (self.hub, *self.hosts):
            host.close()

    def unplug(self, host: Host) -> None:
        """Pull the cable of a host out of the hub: what it sends gets no answer."""
        self.hub.ip(f"link set {self._cable(host)} down")

    def plug(self, host: Host) -> None:
        self.hub.ip(f"link set {self._cable(host)} up")

    def _host(self, address: str, cable: str) -> Host:
        host = Host(address)
        self.hub.ip(f"link add {cable} type veth peer name eth0 netns {host.path}")
        self.hub.ip(f"link set {cable} master cables up")
        host.ip(f"address add {address}/24 dev eth0")
        host.ip("link set eth0 up")
        return host

    def _cable(self, host: Host) -> str:
        return f"cable{host.address.rpartition('.')[2]}"


def require_namespaces() -> None:
    """Skip the test where this user may not have network namespaces."""
    if sys.platform != "linux":
        pytest.skip("only Linux has network namespaces")
    if not shutil.which("ip"):
        pytest.skip("there is no `ip`; `apt-get install iproute2` installs it")
    try:
        Host("10.9.0.1").close()
    except OSError as error:
        pytest.skip(f"network namespaces need root: {error}")


@contextlib.contextmanager
def _elsewhere(function: str, *arguments: int) -> Iterator[None]:
    """Bring this thread into another namespace with a function of the C library, and back at the end."""
    with Path(OWN).open() as before:
        _call(function, *arguments)
        try:
            yield
        finally:
            _call("setns", before.fileno(), CLONE_NEWNET)


def _call(function: str, *arguments: int) -> None:
    """Call a function of the C library."""
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, function)(*arguments):
        raise OSError(ctypes.get_errno(), f"{function}: {os.strerror(ctypes.get_errno())}")
