"""A web server on loopback that records what is posted to it, and fails, hangs or redirects as told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Post:
    path: str
    body: str
    headers: dict[str, str]


@dataclass
class Webhook:
    """`statuses`: of the next answers; then 200. `hangs`: no answer until the end of the test.

    `retry_after`: a header of the answers that are no success.
    """

    address: str = ""
    posts: list[Post] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    hangs: bool = False
    retry_after: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://{self.address}/services/hush-hush"


@contextlib.contextmanager
def listening() -> Iterator[Webhook]:
    hook = Webhook()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hook))
    server.daemon_threads = True
    hook.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """Yields a URL whose connections are refused. The port is taken, so that no other program listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Webhook(f"127.0.0.1:{taken.getsockname()[1]}").url


def _handler(hook: Webhook) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            hook.posts.append(Post(self.path, body, dict(self.headers)))
            if hook.hangs:
                hook.released.wait()
            status = hook.statuses.pop(0) if hook.statuses else 200
            with contextlib.suppress(OSError):
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/login")
                if status >= 300 and hook.retry_after:
                    self.send_header("Retry-After", hook.retry_after)
                self.end_headers()

        def do_GET(self) -> None:
            hook.posts.append(Post(self.path, "", {}))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Prints nothing."""

    return Handler
