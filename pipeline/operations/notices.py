"""Tell somebody of a failure: by a command of theirs, by a webhook. That this fails in turn is logged, and no more."""

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
    """Somebody's wish to be told.

    Parameters
    ----------
    command : str
        A program and its arguments, quoted as for a shell; empty for none.
    webhook : str
        An HTTP or HTTPS URL, which may be a secret; empty for none.
    seconds : float
        How long each of them may take; a command that takes longer is ended, with all that it has started.
    """

    command: str
    webhook: str
    seconds: float

    def give(self, text: str, facts: dict[str, Any], log: IO[bytes], say: Callable[[str], None]) -> None:
        """Tell of a failure.

        Parameters
        ----------
        text : str
            What happened, in words: the command's standard input, ``text`` in the webhook's JSON.
        facts : dict
            More of the same for programs: ``PIPELINE_NAME`` in the command's environment, beside ``text``
            in the JSON.
        log : file
            Takes what the command prints.
        say : callable
            Is told how it went.
        """
        for address, tell in ((self.command, self._call), (self.webhook, self._post)):
            if address:
                try:
                    say(tell(text, facts, log))
                except (OSError, ValueError, TransferError, subprocess.SubprocessError) as error:
                    say(f"The notice of the failure failed: {_without_secrets(_reason(error))}")

    def _call(self, text: str, facts: dict[str, Any], log: IO[bytes]) -> str:
        environment = {f"PIPELINE_{name.upper()}": str(value) for name, value in facts.items()}
        command = shlex.split(self.command)
        with subprocess.Popen(  # noqa: S603, it is the user's own
            command,
            env=os.environ | environment | {"PIPELINE_MESSAGE": text},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that what it starts in turn can be ended with it
        ) as process:
            try:
                process.communicate(text.encode(errors="backslashreplace"), self.seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        return f"{command[0]} was told of the failure."

    def _post(self, text: str, facts: dict[str, Any], _: IO[bytes]) -> str:
        with Client(connect_timeout=self.seconds, stall_timeout=self.seconds, time_limit=self.seconds) as client:
            body = json.dumps({"text": text, **facts}).encode()
            # a redirect would lose the body
            response = client.send("POST", self.webhook, {"Content-Type": "application/json"}, body, redirects=0)
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise TransferError(f"{self.webhook} answered {response.status}; expected 200.")
        return f"{urlsplit(self.webhook).hostname} was told of the failure."


def _reason(error: Exception) -> str:
    match error:
        case subprocess.TimeoutExpired():
            return f"{error.cmd[0]} took longer than {error.timeout:.1f} seconds."
        case subprocess.CalledProcessError():
            return f"{error.cmd[0]} ended with exit status {error.returncode}."
        case _:
            return str(error) or type(error).__name__


def _without_secrets(text: str) -> str:
    """Leave nothing of a URL but its host: all that follows may be what lets one post there."""
    return re.sub(r"(\w+://)(?:[^/@\s]*@)?([^/?#\s]+)[^\s;]*", r"\1\2/...", text)
