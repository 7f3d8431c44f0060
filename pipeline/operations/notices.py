"""Notify people of a failure, by a command or a webhook; log a notice that fails."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO, Any
from urllib.parse import urlsplit

from pipeline.web.connection import Client, TransferError


@dataclass(frozen=True)
class Notice:
    """A command to run and a webhook to post to after a failure.

    Parameters
    ----------
    command : str
        A program and its arguments, quoted as for a shell; empty for none.
    webhook : str
        An HTTP or HTTPS URL, which may be a secret; empty for none.
    seconds : float
        Time limit of each; a command that takes longer is killed, with all processes that it started.
    """

    command: str
    webhook: str
    seconds: float

    def send(self, text: str, facts: dict[str, Any], log: IO[bytes], log_line: Callable[[str], None]) -> None:
        """Run the command and post to the webhook.

        Parameters
        ----------
        text : str
            For people: the command's standard input, ``text`` in the webhook's JSON.
        facts : dict
            For programs: ``PIPELINE_NAME`` in the command's environment, further entries in the JSON.
        log : file
            Receives the command's output.
        log_line : callable
            Receives a line on each success and failure.
        """
        for address, send in ((self.command, self._call), (self.webhook, self._post)):
            if address:
                try:
                    log_line(send(text, facts, log))
                except (OSError, ValueError, TransferError, subprocess.SubprocessError) as error:
                    log_line(f"The notice of the failure failed: {_without_secrets(_reason(error))}")

    def _call(self, text: str, facts: dict[str, Any], log: IO[bytes]) -> str:
        environment = {f"PIPELINE_{name.upper()}": str(value) for name, value in facts.items()}
        command = shlex.split(self.command)
        with subprocess.Popen(  # noqa: S603, it is the user's own
            command,
            env=os.environ | environment | {"PIPELINE_MESSAGE": text},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that the processes that it starts can be killed with it
        ) as process:
            try:
                process.communicate(text.encode(errors="backslashreplace"), self.seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        return f"{command[0]} was notified of the failure."

    def _post(self, text: str, facts: dict[str, Any], _: IO[bytes]) -> str:
        with Client(connect_timeout=self.seconds, stall_timeout=self.seconds, time_limit=self.seconds) as client:
            body = json.dumps({"text": text, **facts}).encode()
            # a redirect would lose the body
            response = client.send("POST", self.webhook, {"Content-Type": "application/json"}, body, redirects=0)
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise TransferError(f"{self.webhook} answered {response.status}; expected 200.")
        return f"{urlsplit(self.webhook).hostname} was notified of the failure."


def _reason(error: Exception) -> str:
    match error:
        case subprocess.TimeoutExpired():
            return f"{error.cmd[0]} took longer than {error.timeout:.1f} seconds."
        case subprocess.CalledProcessError():
            return f"{error.cmd[0]} ended with exit status {error.returncode}."
        case _:
            return str(error) or type(error).__name__


def _without_secrets(text: str) -> str:
    """Reduce URLs to their hosts: the rest of a webhook's URL is its password."""
    return re.sub(r"(\w+://)(?:[^/@\s]*@)?([^/?#\s]+)[^\s;]*", r"\1\2/...", text)
