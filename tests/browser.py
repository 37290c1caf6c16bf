"""A headless Chromium driven by the WebDriver protocol, with the standard library alone."""

import base64
import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import pytest

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]  # fmt: skip
chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (chromium and driver), reason="no chromium and chromedriver here (Debian: apt-get install chromium-driver)"
)


class Browser:
    """One window; ``messages`` is everything the page wrote to the console, ``requests`` every address it asked for."""

    def __init__(self, port, session):
        self.port, self.session = port, session

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/session{path}", data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)["value"]

    def open(self, url):
        self.call("POST", f"/{self.session}/url", {"url": url})

    def run(self, script):
        """Run JavaScript; its ``return`` value comes back."""
        return self.call("POST", f"/{self.session}/execute/sync", {"script": script, "args": []})

    def wait_for(self, condition):
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + 300
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.1)

    def resize(self, width, height):
        command = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", command)

    def command(self, name, params):
        """Send a command of the DevTools protocol."""
        return self.call("POST", f"/{self.session}/goog/cdp/execute", {"cmd": name, "params": params})

    def press(self, key, text=""):
        """Press and let go a key, such as Enter (whose text is a line break), where the focus is."""
        code = {"Enter": 13, "Escape": 27}[key]
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            self.command("Input.dispatchKeyEvent", {**event, "text": text} if kind == "keyDown" else event)

    def screenshot(self):
        return base64.b64decode(self.call("GET", f"/{self.session}/screenshot"))

    def messages(self):
        return [entry["message"] for entry in self._log("browser")]

    def requests(self):
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def _log(self, kind):
        return self.call("POST", f"/{self.session}/se/log", {"type": kind})


def chosen_port(process):
    """Return the port that a chromedriver took: one that was free when it looked."""
    for line in process.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return int(found[1])
    raise AssertionError("chromedriver does not start")


@pytest.fixture
def browser(tmp_path):
    process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    window = Browser(chosen_port(process), "")
    try:
        window.session = start(window, tmp_path)
        yield window
    finally:
        with contextlib.suppress(OSError):
            window.call("DELETE", f"/{window.session}")
        process.terminate()
        process.wait()


def start(window, folder):
    """Open a window with an empty profile; returns its session."""
    options = {"binary": chromium, "args": [*FLAGS, f"--user-data-dir={folder / 'profile'}"]}
    wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
    end = time.monotonic() + 300
    while True:
        try:
            return window.call("POST", "", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        except urllib.error.URLError:
            assert time.monotonic() < end, "chromedriver does not answer"
            time.sleep(0.2)
