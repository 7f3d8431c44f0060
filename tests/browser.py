"""A real Chromium without a window, driven through a pipe by its DevTools protocol."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

KEY_CODES = {
    "Tab": 9,
    " ": 32,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}
"""Windows' codes of keys; Chromium knows by them what a key does."""

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """One page in a browser of its own: what it asks for, what it complains of, what is in it."""

    def __init__(self, program: str, profile: Path) -> None:
        commands, self._commands = os.pipe()
        answers, out = os.pipe()
        # --remote-debugging-pipe reads from descriptor 3 and writes to descriptor 4
        start = f'exec "$0" "$@" 3<&{commands} 4>&{out}'
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            ["bash", "-c", start, program, *options, "--remote-debugging-pipe", "about:blank"],
            pass_fds=(commands, out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(out)
        self._answers = os.fdopen(answers, "rb")
        self._unread = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path: Path) -> None:
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self.happened("Page.loadEventFired"):
            self.events.append(self._next())

    def happened(self, *methods: str) -> list[dict]:
        """Return what came with the events of these kinds since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def requests(self) -> list[str]:
        """Return the URLs that the page asked for, but for data in the page itself."""
        urls = [event["request"]["url"] for event in self.happened("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith("data:")]

    def evaluate(self, expression: str):
        """Return what a JavaScript expression comes to, or what its promise is resolved with."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str):
        """Wait until a JavaScript expression is true, at most 20 seconds, and return what it comes to."""
        end = time.monotonic() + 20
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, expression
            time.sleep(0.005)
        return value

    def choose(self, selector: str, paths: Iterable[Path]) -> None:
        """Choose files in a field, as a person does."""
        document = self.call("DOM.getDocument")["root"]["nodeId"]
        field = self.call("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=field, files=[str(path) for path in paths])

    def press(self, key: str) -> None:
        """Press a key where the focus is; its name is that of `KeyboardEvent.key`."""
        pressed = {"key": key, "windowsVirtualKeyCode": KEY_CODES[key]} | ({"text": key} if len(key) == 1 else {})
        self.call("Input.dispatchKeyEvent", type="keyDown", **pressed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def look(self, *, width: int = 1100, scheme: str = "light", medium: str = "screen") -> None:
        """Set the width of the window in pixels, and what the page is shown on."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=medium, features=features)

    def picture(self) -> Image.Image:
        """Return what is in the window, a pixel for each of the page's."""
        shown = self.call("Page.captureScreenshot", format="png")["data"]
        return Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB")

    def close(self) -> None:
        os.close(self._commands)
        self._answers.close()
        self._process.terminate()
        self._process.wait(30)

    def _next(self) -> dict:
        while b"\0" not in self._unread:
            read = self._answers.read1()
            assert read, "the browser has ended"
            self._unread += read
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)


def start(profile: Path) -> Browser:
    """Start a browser, or skip the test where there is none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no browser found; `apt-get install chromium` installs one")
    return Browser(program, profile)
