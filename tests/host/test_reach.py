"""Commands, ports and files of a run's host, from the client."""

from __future__ import annotations

import http.client
import json
import os
import pty
import select
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.host.chaos import Line
from tests.rigs.patience import wait_until
from tests.support import GPUJOB, Client


def script(client: Client, body: str = "echo ready", **keys: object) -> None:
    client.write("job.yaml", json.dumps({"name": "job", "command": body, "resources": {"gpus": 0}, **keys}))


def call(client: Client, *words: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    """Runs a command that becomes another program."""
    process = client.spawn(*words)
    out, err = process.communicate(stdin)
    return process.returncode, out, err


SHOW = "import os; print(os.getcwd(), os.environ['A'], 'GPUJOB_MARK' in os.environ, 'S' in os.environ)"


def test_a_command_runs_in_the_folder_and_environment_of_a_run(client: Client) -> None:
    client.env["S"] = "a secret"
    script(client, env={"vars": {"A": "x y"}}, pass_env=["S"])
    run_id = client.run("deploy", "job").out.strip()
    client.until("succeeded")
    del client.env["S"]
    code, out, err = call(client, "ssh", "--", "python3", "-c", SHOW)
    assert (code, out.decode().strip()) == (0, f"{client.folder(run_id)} x y False False"), err
    assert call(client, "ssh", "job", "--", "sh", "-c", "echo 'a  b'; exit 37")[:2] == (37, b"a  b\n")
    assert call(client, "ssh", "job", "--", "sh", "-c", "kill -9 $$")[0] == 128 + 9
    code, _, err = call(client, "ssh", "job", "--", "no-such-program", "--help")
    assert (code, b"no-such-program: No such file" in err) == (127, True)
    assert client.run("ssh", "none", "--", "true").code == 3


def test_a_command_over_ssh_gets_its_words_and_passes_its_exit_code(line: Line) -> None:
    script(line.client)
    line.run("deploy", "job", "--follow")
    word = 'it\'s $HOME "quoted"\n; exit 3'
    code, out, err = call(line.client, "ssh", "job", "--on", "gpu", "--", "printf", "%s|", word, "--x", "")
    assert (code, out.decode()) == (0, f"{word}|--x||"), err
    assert call(line.client, "ssh", "job", "--on", "gpu", "--", "sh", "-c", "exit 255")[0] == 255


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"page " + self.path.encode() * 20_000)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def page(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        content: bytes = answer.read()
        return content


def answers(port: int, path: str) -> bool:
    try:
        return page(port, path) == b"page " + path.encode() * 20_000
    except (OSError, http.client.HTTPException):
        return False


def test_a_tunnel_connects_again_after_the_line_was_cut(line: Line, server: int) -> None:
    script(line.client)
    line.run("deploy", "job", "--follow")
    local = free_port()
    tunnel = line.client.spawn("tunnel", "job", f"{local}:{server}", "--on", "gpu", "--json")
    try:
        assert tunnel.stdout
        assert tunnel.stderr
        answer = json.loads(tunnel.stdout.readline())
        assert answer["ports"] == [{"local": local, "remote": server}]
        assert page(local, "/a") == b"page " + b"/a" * 20_000
        for path in ("/b", "/c"):
            before = line.proxy.connections
            line.proxy.cut()
            wait_until(lambda before=before: line.proxy.connections > before, "a new line")
            wait_until(lambda path=path: answers(local, path), f"{path} through the new line")
    finally:
        tunnel.send_signal(signal.SIGINT)
        _, err = tunnel.communicate()
    assert tunnel.returncode == 130
    assert b"the connection to gpu was lost; connecting again" in err
    assert err.count(b"connected to gpu again") == 2
    with pytest.raises(OSError, match="refused"):
        page(local, "/")


def test_a_port_that_is_in_use_is_refused_with_another(line: Line, server: int) -> None:
    script(line.client)
    line.run("deploy", "job", "--follow")
    refused = line.run("tunnel", "job", str(server))
    assert refused.code == 1
    assert f"port {server} of this machine is in use" in refused.err
    assert f":{server}" in refused.err.partition("use another")[2]


def test_a_command_with_a_forwarded_port_reaches_it_meanwhile(line: Line, server: int) -> None:
    script(line.client)
    line.run("deploy", "job", "--follow")
    local, go = free_port(), line.machine.home / "go"
    body = f"echo up; until [ -e {go} ]; do sleep 0.1; done; exit 5"
    process = line.client.spawn(
        "ssh", "job", "--on", "gpu", "-L", f"{local}:{server}", "--", "sh", "-c", body
    )
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    assert page(local, "/x").startswith(b"page /x")
    go.touch()
    process.communicate()
    assert process.returncode == 5


def test_a_forwarded_port_stays_when_the_line_of_its_shell_is_cut(line: Line, server: int) -> None:
    script(line.client)
    line.run("deploy", "job", "--follow")
    local, (ours, theirs), shown = free_port(), pty.openpty(), bytearray()
    words = [*GPUJOB, "ssh", "job", "--on", "gpu", "-L", f"{local}:{server}"]
    process = subprocess.Popen(
        words, cwd=line.client.project, env=line.client.env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)

    def shows(text: bytes) -> bool:
        while select.select([ours], [], [], 0)[0]:
            shown.extend(os.read(ours, 1 << 16))
        return text in shown

    def type_in(word: str) -> None:
        os.write(ours, f"echo {word}-$((1 + 1))\n".encode())
        wait_until(lambda: shows(f"{word}-2".encode()), f"the answer to {word}")

    try:
        type_in("first")
        assert page(local, "/a").startswith(b"page /a")
        line.proxy.cut()
        wait_until(lambda: shows(b"this is a new shell"), "the new shell")
        assert page(local, "/b").startswith(b"page /b")
        type_in("second")
        os.write(ours, b"exit 5\n")
        wait_until(lambda: process.poll() is not None, "the end")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert process.returncode == 5


@pytest.mark.parametrize("words", [("0",), ("65536",), ("a:b",), ("1:2:3",), ("job", "x")])
def test_a_port_that_is_none_is_refused(client: Client, words: tuple[str, ...]) -> None:
    refused = client.run("tunnel", *words)
    assert refused.code == 2
    assert "is not a port" in refused.err


@pytest.mark.parametrize("words", [("6006", "6006"), ("job", "8080:1", "8080:2")])
def test_a_port_of_this_machine_is_named_once(client: Client, words: tuple[str, ...]) -> None:
    refused = client.run("tunnel", *words)
    assert (refused.code, "is named twice" in refused.err) == (2, True)


def test_a_port_of_this_machine_needs_no_tunnel(client: Client) -> None:
    script(client)
    client.run("deploy", "job", "--follow")
    refused = client.run("tunnel", "6006")
    assert (refused.code, "http://127.0.0.1:6006" in refused.err) == (2, True)


@pytest.mark.parametrize("where", ["local", "gpu"])
def test_cp_copies_both_ways_and_replaces_nothing_without_force(
    line: Line, where: str, tmp_path: Path
) -> None:
    client, on = line.client, ("--on", where)
    script(
        client,
        "mkdir -p out/deep; echo one > out/a; echo two > out/deep/b; ln -s /etc out/link",
        setup="true",
    )
    run_id = client.run("deploy", "job", *on, "--follow").out.split()[0]
    work = (line.root if where == "gpu" else client.root) / "runs" / run_id / "work"
    copied = client.run("cp", "job:work/out", str(tmp_path), *on, "--json")
    assert copied.code == 0, copied.err
    assert len(copied.json["files"]) == 2
    assert (tmp_path / "out" / "deep" / "b").read_text() == "two\n"
    assert not (tmp_path / "out" / "link").exists()
    assert client.run("cp", "job:work/out/a", str(tmp_path / "renamed"), *on).code == 0
    assert (tmp_path / "renamed").read_text() == "one\n"
    assert not list(tmp_path.rglob(".gpujob-part"))

    (tmp_path / "renamed").write_text("mine")
    assert client.run("cp", "job:work/out/a", str(tmp_path / "renamed"), *on).code == 2
    assert (tmp_path / "renamed").read_text() == "mine"
    taken = client.run("cp", str(tmp_path / "renamed"), "job:work/out/a", *on)
    assert (taken.code, "work/out/a exists" in taken.err) == (1, True)
    assert client.run("cp", str(tmp_path / "renamed"), "job:work/out/a", *on, "--force").code == 0
    assert [(work / "out" / name).read_text() for name in ("a", "a~")] == ["mine", "one\n"]
    assert client.run("cp", str(tmp_path / "out"), "job:work/new/", *on).code == 0
    assert (work / "new" / "out" / "deep" / "b").read_text() == "two\n"
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for source, why in (
        ("empty", "has no file to copy"),
        ("pipe", "no regular file"),
        ("odd", "broken link"),
    ):
        refused = client.run("cp", str(tmp_path / source), "job:work/", *on)
        assert (refused.code, why in refused.err, "next: " in refused.err) == (2, True, True), refused.err
    name = "a b: ü*.txt"
    client.write(name, "colon")
    assert "./" + name in client.run("cp", name, "job:work/", *on).err
    assert client.run("cp", "./" + name, "job:work/.", *on).code == 0
    assert client.run("cp", f"job:work/{name}", str(tmp_path / "x y"), *on).code == 0
    assert (tmp_path / "x y").read_text() == "colon"
    assert "is a file" in client.run("cp", f"job:work/{name}", str(tmp_path / "x y" / "z"), *on).err
    assert "work/out/ copies into it" in client.run("cp", "./" + name, "job:work/out", *on).err
    for path in ("work/out/link/passwd", "run.json", "../x", "log"):
        assert client.run("cp", str(tmp_path / "renamed"), f"job:{path}", *on, "--force").code in (1, 2)
    assert not list((work.parent / ".copies").iterdir())
    assert client.run("cp", "job:work/out/link/passwd", str(tmp_path), *on).code == 1
    assert client.run("cp", "job:work/out/a", "job:work/b", *on).code == 2
