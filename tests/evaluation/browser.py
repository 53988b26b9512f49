"""A page run in headless Chromium, over the pipe that it is debugged through: real time, no network, no package."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--window-size=1280,900",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
WAIT = "const wait = milliseconds => new Promise(done => setTimeout(done, milliseconds));"


class Browser:
    """Closed at the end of a ``with``. Skips the test where there is no Chromium."""

    def __init__(self, folder: Path):
        if PROGRAM is None:
            pytest.skip("chromium is not installed")
        its_in, self.out = os.pipe()
        self.inward, its_out = os.pipe()
        redirected = f'exec "$0" "$@" 3<&{its_in} 4>&{its_out} 2>/dev/null'
        command = ["bash", "-c", redirected, PROGRAM, *OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={folder}"]
        self.process = subprocess.Popen(command, pass_fds=(its_in, its_out))
        os.close(its_in), os.close(its_out)
        self.calls, self.rest = 0, b""

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.wait(20)
        os.close(self.out), os.close(self.inward)

    def run(self, page: Path, script: str) -> Any:
        """What the body of an async function returns in the loaded page; it may ``await wait(milliseconds)``."""
        target = self._call("Target.createTarget", url=page.as_uri())["targetId"]
        session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        while self._evaluate(session, "location.protocol + document.readyState") != "file:complete":
            time.sleep(0.02)
        found = self._evaluate(session, f"(async () => {{ {WAIT} {script} }})()")
        self._call("Target.closeTarget", targetId=target)
        return found

    def _evaluate(self, session: str, expression: str) -> Any:
        options = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        found = self._call("Runtime.evaluate", session, **options)
        assert "exceptionDetails" not in found, found["exceptionDetails"]["exception"].get("description")
        return found["result"].get("value")

    def _call(self, method: str, session: str | None = None, **parameters) -> dict:
        self.calls += 1
        message = {"id": self.calls, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                chunk = os.read(self.inward, 1 << 16)
                assert chunk, "the browser has ended"
                self.rest += chunk
            answer, self.rest = self.rest.split(b"\0", 1)
            answer = json.loads(answer)
            if answer.get("id") == self.calls:
                assert "error" not in answer, answer["error"]
                return answer["result"]
