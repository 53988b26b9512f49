"""An S3-compatible server on loopback that can be made to fail."""

import itertools
import logging
import os
import socket
from contextlib import contextmanager

import fsspec


@contextmanager
def serving():
    """The server; every S3 address of this process, and of those it starts, leads to it."""
    import moto.server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    try:
        yield server._server
    finally:
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        server.stop()


@contextmanager
def failing(server, statuses, every=1):
    """While it lasts, one of ``every`` requests is answered with the next of ``statuses``, "reset" not at all; the list
    of those that were.
    """
    app, failed = server.app, []
    count, statuses = itertools.count(1), itertools.cycle(statuses)

    def wrapped(environ, start_response):
        if next(count) % every:
            return app(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        failed.append(status := next(statuses))
        if status == "reset":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        start_response(status, [("Content-Type", "text/plain")])
        return [b""]

    server.app = wrapped
    try:
        yield failed
    finally:
        server.app = app
