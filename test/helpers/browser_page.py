"""A page in headless Chromium, driven by its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu-sandbox", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--hide-scrollbars", "--window-size=1280,800", "--remote-debugging-port=0",
    "--no-first-run", "--disable-background-networking",
)  # fmt: skip


def browser() -> str | None:
    """The browser of this machine."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


class Page:
    """A connection to the page."""

    def __init__(self, address: str) -> None:
        from websockets.sync.client import connect

        self._socket = connect(address, max_size=None)
        self._ids = itertools.count()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                return answer["result"]

    def text(self) -> str:
        """The text that the page shows."""
        return self.call("Runtime.evaluate", expression="document.body.innerText")["result"].get("value", "")

    def screenshot(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def wait_for(self, text: str, timeout_s: float = 90) -> str:
        """Wait until the page contains a text, and return all of it."""
        deadline = time.monotonic() + timeout_s
        while text not in (content := self.text()):
            assert time.monotonic() < deadline, f"the page does not show {text!r} but {content[:500]!r}"
            time.sleep(0.2)
        return content


@contextlib.contextmanager
def opened(url: str) -> Iterator[Page]:
    """A page in a browser of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [browser(), *OPTIONS, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.PIPE, text=True
        )
        try:
            port = next(line for line in process.stderr if "DevTools listening" in line).split(":")[2].split("/")[0]
            targets = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list"))
            page = Page(next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page"))
            page.call("Page.navigate", url=url)
            yield page
        finally:
            process.terminate()
            process.wait(20)
