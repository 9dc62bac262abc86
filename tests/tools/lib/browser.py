# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven through its own pipe (the DevTools protocol over descriptors 3 and 4),
so that a test needs nothing but the browser and Python's standard library.

    with browser.Browser() as chromium, chromium.page() as page:
        page.open("file:///tmp/report.html")
        page.evaluate("document.title")
        page.screenshot(clip={"x": 0, "y": 0, "width": 100, "height": 100})
        page.complaints      # what the page or its policy complained about
"""

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-extensions", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio",
         "--remote-debugging-pipe"]
TIMEOUT_S = 60


def find():
    """The browser's path ($CHROMIUM says another). Without one the test is skipped (77), or fails where all is required."""
    for name in (os.environ.get("CHROMIUM", ""), *NAMES):
        path = shutil.which(name)
        if path:
            return path
    print("no Chromium: install chromium-headless-shell or chromium", file=sys.stderr)
    sys.exit(1 if os.environ.get("PGWEIR_REQUIRE_ALL") == "1" else 77)


class Browser:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="pgweir-browser-")
        self.number = 0
        self.buffer = b""
        self.listeners = {}
        to_read, self.to = os.pipe()
        self.source, to_write = os.pipe()

        def descriptors():
            # Above 4 first, so that neither overwrites the other.
            a, b = os.dup2(to_read, 60), os.dup2(to_write, 61)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.errors = open(os.path.join(self.directory, "stderr"), "wb")
        self.process = subprocess.Popen(
            [find(), *FLAGS, "--user-data-dir=" + os.path.join(self.directory, "profile")],
            stdin=subprocess.DEVNULL, stdout=self.errors, stderr=self.errors, close_fds=False,
            start_new_session=True, preexec_fn=descriptors)
        os.close(to_read)
        os.close(to_write)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # Debian's command is a script around it
            self.process.wait()
        for descriptor in (self.to, self.source):
            os.close(descriptor)
        self.errors.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _read(self, deadline):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.source], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.source, 1 << 20) if ready else b""
            if not data:
                with open(self.errors.name, encoding="utf-8", errors="replace") as file:
                    raise RuntimeError("Chromium does not answer; it said:\n" + file.read()[-2000:])
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def _hear(self, message):
        listener = self.listeners.get(message.get("sessionId"))
        if listener and "method" in message:
            listener(message["method"], message["params"])

    def call(self, method, session=None, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            answer = self._read(deadline)
            if answer.get("id") != self.number:
                self._hear(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            else:
                return answer["result"]

    def wait(self, condition):
        """Hears events until condition() holds."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            self._hear(self._read(deadline))

    def page(self, width=1280, height=900):
        return Page(self, width, height)


class Page:
    def __init__(self, browser, width, height):
        self.browser = browser
        self.complaints = []
        self.requests = []
        self.loaded = False
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target,
                                    flatten=True)["sessionId"]
        browser.listeners[self.session] = self._event
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.size(width, height)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.browser.call("Target.closeTarget", targetId=self.target)

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def _event(self, method, params):
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"].get("exception", {}).get(
                "description", params["exceptionDetails"]["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.complaints.append(str(params["args"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)

    def scheme(self, name):
        """"dark" or "light", as the reader's system asks for."""
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": name}])

    def open(self, url):
        self.loaded = False
        self.complaints.clear()
        self.requests.clear()
        self.call("Page.navigate", url=url)
        self.browser.wait(lambda: self.loaded)

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def box(self, selector):
        """Where an element is on the page, for a screenshot's clip."""
        return self.evaluate(f"""(() => {{
            const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();
            return {{x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height}};
        }})()""")

    def screenshot(self, clip=None, scale=1):
        """PNG of a part of the page, or of all of it."""
        if clip is None:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"]}
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True,
                                          clip={**clip, "scale": scale})["data"])

    def move(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, name):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name)


def pixels(png):
    """(width, height, rows of RGB tuples) of an 8-bit PNG as screenshots are."""
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    size = {2: 3, 6: 4}[kind]
    assert depth == 8 and png[:8] == b"\x89PNG\r\n\x1a\n"
    packed, at = b"", 8
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at:at + 8])
        packed += png[at + 8:at + 8 + length] if name == b"IDAT" else b""
        at += length + 12
    raw, rows, above = zlib.decompress(packed), [], bytearray(width * size)
    for y in range(height):
        start = y * (width * size + 1)
        line = bytearray(raw[start + 1:start + 1 + width * size])
        for i in range(len(line)):
            left = line[i - size] if i >= size else 0
            corner = above[i - size] if i >= size else 0
            line[i] = (line[i] + _predict(raw[start], left, above[i], corner)) & 255
        rows.append([tuple(line[i:i + 3]) for i in range(0, len(line), size)])
        above = line
    return width, height, rows


def _predict(kind, left, up, corner):
    if kind == 4:
        guess = left + up - corner
        return min((left, up, corner), key=lambda value: abs(guess - value))
    return (0, left, up, (left + up) // 2)[kind]
