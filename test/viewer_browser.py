"""A headless Chromium, driven through its own DevTools protocol: enough of a browser for the viewer's tests."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL without a GPU
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)


def find_chromium() -> str | None:
    """The browser's path; None where none is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of one browser with a profile of its own, removed at the end. A context manager."""

    def __init__(self, width: int = 1280, height: int = 800):
        self._profile = tempfile.TemporaryDirectory(prefix="cgc_ros_chromium_", ignore_cleanup_errors=True)
        arguments = [*FLAGS, f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}", "about:blank"]
        self._process = subprocess.Popen(
            [find_chromium(), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._socket = connect(self._page_socket(), max_size=None, compression=None, ping_interval=None)
        self._last_id = 0
        self.requested: list[str] = []  # every address that the page asked for
        self.errors: list[str] = []  # uncaught exceptions in the page
        for domain in ("Page", "Runtime", "Network"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(10)
        self._profile.cleanup()

    def open(self, url: str) -> None:
        """Go there and wait until the page is loaded."""
        self.send("Page.navigate", url=url)
        self.wait_for(f"location.href.startsWith('{url}') && document.readyState === 'complete'")

    def evaluate(self, expression: str):
        """The value of a JavaScript expression, promises awaited."""
        reply = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in reply:
            raise RuntimeError(f"{expression}: {reply['exceptionDetails']}")
        return reply["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 20.0):
        """Until a JavaScript expression is true; its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the page did not come to {expression} in {seconds} s")
            time.sleep(0.05)
        return value

    def text(self) -> str:
        """What the page says."""
        return self.evaluate("document.body.innerText")

    def click(self, x: float, y: float) -> None:
        """Press and release the left button at a place on the page, in pixels."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def click_on(self, expression: str) -> None:
        """Click the middle of the element that a JavaScript expression finds."""
        box = self.wait_for(
            f"(e => e && (e.scrollIntoView({{block: 'nearest'}}), [e.getBoundingClientRect()].map("
            f"b => [b.x + b.width / 2, b.y + b.height / 2])[0]))({expression})"
        )
        self.click(*box)

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def screenshot(self, path: Path | str) -> None:
        Path(path).write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def foreign_requests(self) -> list[str]:
        """Addresses asked for that are neither on this machine nor inside the page itself."""
        inside = ("data", "blob", "about")
        return [
            url
            for url in self.requested
            if urlsplit(url).scheme not in inside and urlsplit(url).hostname not in ("127.0.0.1", "localhost")
        ]

    def send(self, method: str, **params) -> dict:
        """One command of the DevTools protocol and its reply; events that come meanwhile are noted."""
        self._last_id += 1
        self._socket.send(json.dumps({"id": self._last_id, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._last_id:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._note(message)

    def _note(self, message: dict) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requested.append(params["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"].get("exception", {}).get("description", params)))

    def _page_socket(self) -> str:
        """Address of the page's debugging socket, once the browser is up."""
        from urllib.request import urlopen

        port_file, deadline = Path(self._profile.name) / "DevToolsActivePort", time.monotonic() + 30
        while not (port_file.is_file() and len(port_file.read_text().splitlines()) >= 2):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise TimeoutError("the browser did not start")
            time.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        while True:
            with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as reply:
                pages = [each for each in json.load(reply) if each["type"] == "page"]
            if pages:
                return pages[0]["webSocketDebuggerUrl"]
            if time.monotonic() > deadline:
                raise TimeoutError("the browser opened no page")
            time.sleep(0.05)
