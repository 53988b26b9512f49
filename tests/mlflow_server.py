"""An MLflow server for tests: real, on loopback, started in a tenth of a second."""

import multiprocessing
import os
import shutil
import time

import requests


class Server:
    """A real one in a process of its own, at one port of loopback. It can be killed once and started again.

    Both processes are forked at once, before there are threads, from this one, which knows MLflow already: to start one
    takes a tenth of a second, and by its command ten.
    """

    def __init__(self, folder, port, database):
        from mlflow import server

        shutil.copy(database, folder / "m.db")
        self.uri, fork = f"http://127.0.0.1:{port}", multiprocessing.get_context("fork")
        self._next = []
        for gate in (fork.Event(), fork.Event()):
            process = fork.Process(target=_serve, args=(server, folder, port, gate), daemon=True)
            process.start()
            self._next.append((process, gate))

    def start(self):
        self._process, gate = self._next.pop(0)
        gate.set()
        deadline = time.monotonic() + 60
        while not self._is_up():
            assert self._process.is_alive() and time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self):
        self._process.kill()
        self._process.join()

    def _is_up(self):
        try:
            return requests.get(f"{self.uri}/health", timeout=5).ok
        except requests.RequestException:
            return False


def _serve(server, folder, port, gate):
    from werkzeug.serving import make_server

    os.environ[server.BACKEND_STORE_URI_ENV_VAR] = f"sqlite:///{folder}/m.db"
    os.environ[server.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    os.environ[server.ARTIFACTS_DESTINATION_ENV_VAR] = str(folder / "files")
    os.environ[server.SERVE_ARTIFACTS_ENV_VAR] = "true"
    gate.wait()
    make_server("127.0.0.1", port, server.app, threaded=True).serve_forever()
