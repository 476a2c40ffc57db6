"""Drives a headless Chromium by its debugging protocol."""

import asyncio
import base64
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

from tornado.websocket import websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
LOOK = """JSON.stringify({
    title: document.title,
    links: [...document.links].map(a => a.href),
    ids: [...document.querySelectorAll("[id]")].map(e => e.id),
    broken: [...document.images].filter(i => !i.naturalWidth).map(i => i.src),
})"""
SECONDS = 60


def find():
    """Returns the path of a Chromium on this machine, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One tab of a browser, which is ended with `close`.

    Args:
        program: Path of a Chromium.
        folder: Path of an empty folder for its profile.
    """

    def __init__(self, program, folder):
        self.requests, self.failures = [], []
        self._count = 0
        self._loop = asyncio.new_event_loop()
        self._process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",  # which root cannot have
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--remote-debugging-port=0",
                "--window-size=1280,900",
                f"--user-data-dir={folder}",
                "about:blank",
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            self._connect(Path(folder) / "DevToolsActivePort")
        except BaseException:
            self._process.kill()
            raise

    def _connect(self, file):
        deadline = time.monotonic() + SECONDS
        while not (file.is_file() and "\n" in file.read_text()):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError("the browser did not start")
            time.sleep(0.1)
        port = file.read_text().splitlines()[0]
        address = f"http://127.0.0.1:{port}/json/list"
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:
            tabs = json.load(answer)
        url = next(
            tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"
        )
        self._socket = self._wait(
            lambda: websocket_connect(url, max_message_size=2**28)
        )
        self.send("Page.enable")
        self.send("Network.enable")

    def _wait(self, make):
        async def wait():
            return await asyncio.wait_for(make(), SECONDS)

        return self._loop.run_until_complete(wait())

    def send(self, method, **params):
        """Returns the result of a command."""
        self._count += 1
        command = dict(id=self._count, method=method, params=params)
        text = json.dumps(command)
        self._wait(lambda: self._socket.write_message(text))
        while True:
            message = self._read()
            if message.get("id") == self._count:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def _read(self):
        text = self._wait(lambda: self._socket.read_message())
        if text is None:
            raise RuntimeError("the browser has gone")
        message = json.loads(text)
        params = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.responseReceived":
                response = params["response"]
                if response["status"] >= 400:
                    self.failures.append(response["url"])
        return message

    def open(self, url):
        """Loads a page, and returns its title, links, ids and broken images."""
        self._loaded = False
        self.send("Page.navigate", url=url)
        while not self._loaded:
            self._read()
        result = self.send("Runtime.evaluate", expression=LOOK)
        return json.loads(result["result"]["value"])

    def screenshot(self, path):
        """Writes what is seen of the page as a PNG."""
        data = self.send("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self):
        """Ends the browser."""
        self._process.terminate()
        self._process.wait(timeout=SECONDS)
        self._loop.close()
