"""A stub of an OpenAI-compatible endpoint on 127.0.0.1: it answers each clip as a script says, and keeps what it got.

The clip is told by the mean brightness of its first picture, in steps of 10.
"""

import base64
import json
import socket
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import cv2
import numpy as np


def completion(text, tokens=100, **changes):
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message}], "usage": {"total_tokens": tokens}} | changes


def good(clip):
    return f"The person lifts both arms {clip} times and steps to the left."


@dataclass
class Stub:
    """``script``: clip -> answers to be given first, each the name of a misdeed below, or bytes, text or JSON to be
    sent with status 200, or a number: an empty answer of that status. Then, and else, a caption is given."""

    script: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    slow: float = 1.0

    def counts(self):
        clips = [request.clip for request in self.requests]
        return {clip: clips.count(clip) for clip in sorted(set(clips))}


def _clip(body):
    uri = body["messages"][0]["content"][1]["image_url"]["url"]
    jpeg = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    return round(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).mean() / 10)


def _handler(stub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            clip = _clip(body)
            with stub.lock:
                seen = SimpleNamespace(clip=clip, path=self.path, body=body, time=time.monotonic())
                seen.headers = {name.lower(): value for name, value in self.headers.items()}
                stub.requests.append(seen)
                answers = stub.script.get(clip, [])
                answer = answers.pop(0) if answers else completion(good(clip))
            if isinstance(answer, tuple):
                return self._send(*answer)
            misdeed = getattr(self, f"_{answer}", None) if isinstance(answer, str) else None
            if misdeed:
                return misdeed()
            return self._send(answer, b"{}") if isinstance(answer, int) else self._send(200, answer)

        def _send(self, status, content, **headers):
            if not isinstance(content, bytes):
                content = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _limited(self):
            self._send(429, "slow down", Retry_After="0.6")

        def _redirect(self):
            self._send(307, "", Location="http://127.0.0.2:9/v1/chat/completions")

        def _late(self):
            time.sleep(stub.slow)
            self.close_connection = True

        def _dripping(self):
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            for _ in range(100):
                time.sleep(stub.slow / 8)
                try:
                    self.wfile.write(b" ")
                except OSError:
                    break
            self.close_connection = True

        def _half(self):
            content = json.dumps(completion("The person")).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(2 * len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True

        def _reset(self):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        def _huge(self):
            self._send(200, json.dumps(completion("The person is too large.")) + " " * 2**21)

        def _noise(self):
            self.wfile.write(bytes(range(128, 256)) * 4)
            self.close_connection = True

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        pass  # clients that leave are part of the play


@contextmanager
def serve(stub):
    """The address of ``stub``, ending with /v1."""
    server = _Server(("127.0.0.1", 0), _handler(stub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
