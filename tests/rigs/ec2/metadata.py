"""The instance metadata service, version 2: requires a token, and answers 404 for values not set."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "rig-token"
PREFIX = "/latest/meta-data/"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


class Metadata:
    """A metadata service on `ip`. `values` maps paths below meta-data/ to their texts."""

    def __init__(self, ip: str, values: Callable[[], Mapping[str, str]], port: int = 80) -> None:
        self.notice: dict[str, str] = {}
        self.asked: list[str] = []
        self._server = Server((ip, port), _handler(self, values))
        self.url = f"http://{ip}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def announce_end(self, at: float, action: str = "terminate") -> None:
        """Publish a spot notice: the instance is terminated or stopped at `at` (epoch seconds)."""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        self.notice = {
            "spot/instance-action": json.dumps({"action": action, "time": when}),
            "events/recommendations/rebalance": json.dumps({"noticeTime": when}),
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(service: Metadata, values: Callable[[], Mapping[str, str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_PUT(self) -> None:
            header = "X-aws-ec2-metadata-token-ttl-seconds"
            fine = self.path == "/latest/api/token" and self.headers.get(header)
            self._say(200 if fine else 400, TOKEN if fine else "")

        def do_GET(self) -> None:
            service.asked.append(self.path)
            if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
                return self._say(401)
            known = {**values(), **service.notice}
            value = known.get(self.path.removeprefix(PREFIX))
            return self._say(200, value) if value is not None else self._say(404)

        def _say(self, status: int, body: str = "") -> None:
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

    return Handler
