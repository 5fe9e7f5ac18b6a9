"""A real browser (chromium, headless) without any way out: in a network namespace of its own, spoken
to over a pair of pipes. Says what it logged, what it wanted to load, and what is on the page."""

import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import time
import tempfile

import suite  # noqa: F401  (finds the modules of tests/netns)
import kernel
from tap import Skip

BINARY = shutil.which("chromium")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-extensions", "--disable-sync", "--disable-dev-shm-usage")
TIMEOUT_SEC = 60


class Browser:
    """With it: open pages, ask them, look at them."""

    def __enter__(self):
        if not BINARY:
            raise Skip("needs chromium")
        self._home = tempfile.TemporaryDirectory(prefix="igtest-web-")  # pylint: disable=R1732
        down_read, self._down = os.pipe()
        self._up, up_write = os.pipe()
        # it must not be able to reach anything, whatever a page asks for
        command = f'exec unshare --net -- "$@" 3<&{down_read} 4>&{up_write}'
        self._process = subprocess.Popen(  # pylint: disable=R1732
            ["bash", "-c", command, "browser", BINARY, *FLAGS, f"--user-data-dir={self._home.name}"],
            pass_fds=(down_read, up_write), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, preexec_fn=kernel.die_with_parent,
            env={**os.environ, "HOME": self._home.name, "TMPDIR": self._home.name})
        os.close(down_read)
        os.close(up_write)
        self._rest, self._number, self.events = b"", 0, []
        return self

    def __exit__(self, *error):
        os.close(self._down)
        os.close(self._up)
        self._process.kill()
        self._process.wait()
        for _ in range(50):  # its helpers may still be writing their last files
            shutil.rmtree(self._home.name, ignore_errors=True)
            if not os.path.exists(self._home.name):
                break
            time.sleep(0.1)
        self._home.cleanup()

    def _read(self):
        while b"\0" not in self._rest:
            ready = readable(self._up)
            assert ready, "the browser says nothing"
            data = os.read(self._up, 1 << 20)
            assert data, "the browser ended"
            self._rest += data
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._down, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def wait_event(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._read())

    def open(self, path):
        self.events.clear()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Page.navigate", url=pathlib.Path(path).as_uri())
        self.wait_event("Page.loadEventFired")
        return page


def readable(fd):
    return select.select([fd], [], [], TIMEOUT_SEC)[0]


class Page:
    def __init__(self, browser, session):
        self._browser, self._session = browser, session

    def call(self, method, **params):
        return self._browser.call(method, self._session, **params)

    def ask(self, expression):
        """The value of a JavaScript expression, evaluated beside the page's own policy."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def complaints(self):
        """What the console got, exceptions and refused loads among it."""
        self.ask("1")
        methods = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [e for e in self._browser.events if e.get("method") in methods]

    def requests(self):
        self.ask("1")
        return [e["params"]["request"]["url"] for e in self._browser.events
                if e.get("method") == "Network.requestWillBeSent"]

    def emulate(self, media="screen", scheme="light", width=1280):
        self.call("Emulation.setEmulatedMedia", media=media,
                  features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                  deviceScaleFactor=1, mobile=False)

    def screenshot(self, path):
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png",
                                          captureBeyondViewport=True)["data"])
        with open(path, "wb") as file:
            file.write(data)
        return data

    def pdf(self):
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])
