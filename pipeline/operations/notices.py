"""Notify people of a failure, by a command or a webhook; log a notice that fails."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO, Any
from urllib.parse import urlsplit

from pipeline.web.connection import Client, TransferError


@dataclass(frozen=True)
class Notice:
    """A command, quoted as for a shell, and a webhook's URL, for messages of failures; either may be empty.

    ``seconds`` is the time limit of each. A command that takes longer is killed, with all processes that it started.
    """

    command: str
    webhook: str
    seconds: float

    def send(self, text: str, facts: dict[str, Any], log: IO[bytes]) -> Iterator[str]:
        """Run the command and post to the webhook, and yield a line on the success or the failure of each.

        The text is the command's standard input, and ``text`` in the webhook's JSON. The facts, for programs, are
        ``PIPELINE_NAME`` in the command's environment and further entries in the JSON. The command's output goes to
        the log.
        """
        for address, send in ((self.command, self._call), (self.webhook, self._post)):
            if address.strip():
                try:
                    yield send(text, facts, log)
                except (OSError, ValueError, TransferError) as error:
                    yield f"The notice of the failure failed: {_without_secrets(str(error) or type(error).__name__)}"

    def _call(self, text: str, facts: dict[str, Any], log: IO[bytes]) -> str:
        environment = {f"PIPELINE_{name.upper()}": str(value) for name, value in {**facts, "message": text}.items()}
        command = shlex.split(self.command)
        with subprocess.Popen(  # noqa: S603, it is the user's own
            command,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that the processes that it starts can be killed with it
        ) as process:
            try:
                process.communicate(text.encode(errors="backslashreplace"), self.seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise TimeoutError(f"{command[0]} took longer than {self.seconds:.1f} seconds.") from None
        if process.returncode:
            raise ChildProcessError(f"{command[0]} ended with exit status {process.returncode}.")
        return f"{command[0]} was notified of the failure."

    def _post(self, text: str, facts: dict[str, Any], _: IO[bytes]) -> str:
        with Client(connect_timeout=self.seconds, stall_timeout=self.seconds, time_limit=self.seconds) as client:
            body = json.dumps({"text": text, **facts}).encode()
            # a redirect would lose the body
            response = client.send("POST", self.webhook, {"Content-Type": "application/json"}, body, redirects=0)
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise TransferError(f"{self.webhook} answered {response.status}; expected 200.")
        return f"{urlsplit(self.webhook).hostname} was notified of the failure."


def _without_secrets(text: str) -> str:
    """Reduce URLs to their hosts: the rest of a webhook's URL is its password."""
    return re.sub(r"(\w+://)(?:[^/@\s]*@)?([^/?#\s]+)[^\s;]*", r"\1\2/...", text)
