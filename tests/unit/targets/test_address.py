from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.targets import helper_host
from orchestrator.targets.ssh import address, bootstrap, hostkeys, startup_filter
from tests.support import new_client

SAID = """\
host gpu
user ana
hostname 10.0.0.7
port 2222
identityfile ~/.ssh/id_ed25519
identityfile /keys/other
identityagent SSH_AUTH_SOCK
userknownhostsfile ~/.ssh/known_hosts /etc/more
globalknownhostsfile /dev/null
"""


def understood(output: str = SAID, socket: str | None = None) -> address.Resolved:
    return address.parse_config(address.parse("gpu"), output, "/home/ana", socket)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("gpu-box.lab", ["gpu-box.lab"]),
        ("ssh://ana@box:2222", ["-p", "2222", "ana@box"]),
        ("ssh://box", ["box"]),
        ("ssh://ana@[::1]:22", ["-p", "22", "ana@::1"]),
        ("ana@box:2222", ["-p", "2222", "ana@box"]),
        ("box:2222", ["-p", "2222", "box"]),
        ("DOM\\ana@box", ["DOM\\ana@box"]),
        ("ssh://DOM%5Cana@box:2222", ["-p", "2222", "DOM\\ana@box"]),
        ("ssh://ana%40corp.com@box", ["ana@corp.com@box"]),
        ("ana+gpu=1@box", ["ana+gpu=1@box"]),
        ("gpu+1", ["gpu+1"]),
        ("büro", ["büro"]),
        ("::1", ["::1"]),
        ("ana@fe80::1%eth0.5", ["ana@fe80::1%eth0.5"]),
        ("ssh://[fe80::1%25eth0]", ["fe80::1%eth0"]),
        ("ssh://ana@[fe80::1%eth0]:2222/", ["-p", "2222", "ana@fe80::1%eth0"]),
        ("[::ffff:10.0.0.7]:2222", ["-p", "2222", "::ffff:10.0.0.7"]),
    ],
)
def test_a_target_is_parsed_into_arguments_for_ssh(word: str, words: list[str]) -> None:
    assert address.parse(word).words() == words


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("GpuBox", ["GpuBox"]),
        ("ssh://GpuBox", ["GpuBox"]),
        ("ssh://GpuBox/", ["GpuBox"]),
        ("ana@GpuBox", ["ana@GpuBox"]),
        ("ssh://Ana@GpuBox:2222", ["-p", "2222", "Ana@GpuBox"]),
        ("ssh://[FE80::1]", ["FE80::1"]),
    ],
)
def test_a_name_keeps_its_capital_letters_however_it_is_typed(
    word: str, words: list[str], tmp_path: Path
) -> None:
    (config := tmp_path / "config").write_text("Host GpuBox\n  HostName 10.0.0.7\n")
    assert address.parse(word).words() == words
    with new_client() as client:
        client.env["GPUJOB_SSH_CONFIG"] = str(config)
        resolved = address.resolve(client.context(), address.parse(word))
    assert resolved.hostname == ("10.0.0.7" if "GpuBox" in word else "FE80::1")


@pytest.mark.parametrize(
    "word",
    [
        "-oProxyCommand=id",
        "a b",
        "a;b",
        "ssh://-oProxyCommand=id",
        "ssh://a b",
        "ssh://a/path",
        "ssh://u:pw@h",
        "$(id)",
        "-oProxyCommand=id@h",
        "u@-oProxyCommand=id",
        "u:pw@h",
        "u@h/path",
        "@h",
        "u@",
        "ssh://",
        "ssh://ssh://h",
        "u\\@h",
        "DOM\\h",
        "u\nx@h",
        "u`id`@h",
        "u;id@h",
        "u$(id)@h",
        "ssh://%2DoProxyCommand=id",
        "ssh://u%2F..@h",
        "ssh://h%0Ax",
        "ssh://h%3Bid",
        "fe80::1%eth0;id",
        "[::1",
        "[::1]x",
        "h:0",
        "h:65536",
        "h:२२",
        "C:\\x",
        "%h",
    ],
)
def test_an_argument_that_could_be_an_option_or_command_is_no_target(word: str) -> None:
    with pytest.raises(UsageError, match="is not a target"):
        address.parse(word)


def test_the_resolved_configuration_of_openssh_is_parsed() -> None:
    resolved = understood()
    assert (resolved.user, resolved.hostname, resolved.port, resolved.key_name) == (
        "ana",
        "10.0.0.7",
        2222,
        "[10.0.0.7]:2222",
    )
    assert resolved.identities == ("/home/ana/.ssh/id_ed25519", "/keys/other")
    assert resolved.known_hosts == ("/home/ana/.ssh/known_hosts", "/etc/more")
    assert resolved.unsupported == ()


@pytest.mark.parametrize(
    "line",
    [
        "proxyjump bastion",
        "proxycommand nc %h %p",
        "certificatefile ~/c",
        "gssapiauthentication yes",
        "pkcs11provider x",
        "hostbasedauthentication yes",
        "preferredauthentications password",
        "knownhostscommand /bin/x",
        "pubkeyauthentication no",
    ],
)
def test_features_that_need_openssh_are_named(line: str) -> None:
    assert understood(SAID + line + "\n").unsupported == (line.split()[0],)


def test_only_an_agent_at_another_socket_needs_openssh() -> None:
    other = SAID.replace("SSH_AUTH_SOCK", "/run/1password.sock")
    assert understood(other, "/tmp/agent").unsupported == ("identityagent",)
    assert understood(other, "/run/1password.sock").unsupported == ()
    assert (
        understood(SAID.replace("identityagent SSH_AUTH_SOCK", "identityagent none"), "/tmp/a").agent is None
    )


def test_a_host_for_which_ssh_forks_is_resolved_and_the_fork_undone(tmp_path: Path) -> None:
    (config := tmp_path / "config").write_text(
        "Host gpu\n  HostName 10.0.0.7\n  ForkAfterAuthentication yes\n"
    )
    with new_client() as client:
        client.env["GPUJOB_SSH_CONFIG"] = str(config)
        resolved = address.resolve(client.context(), address.parse("gpu"))
    assert resolved.hostname == "10.0.0.7"
    assert "ForkAfterAuthentication=no" in resolved.neutral


def test_files_of_host_keys_may_have_spaces_in_their_names(tmp_path: Path) -> None:
    files = [tmp_path / "Ana Maria" / "known hosts", tmp_path / "more"]
    (config := tmp_path / "config").write_text(
        f'Host gpu\n  UserKnownHostsFile "{files[0]}" {files[1]}\n  GlobalKnownHostsFile /dev/null\n'
    )
    with new_client() as client:
        client.env["GPUJOB_SSH_CONFIG"] = str(config)
        resolved = address.resolve(client.context(), address.parse("gpu"))
        assert resolved.known_hosts == tuple(map(str, files))
        files[0].parent.mkdir()
        files[0].write_text("gpu ssh-ed25519 AAAA\n")
        assert [key.blob for key in hostkeys.known(client.context(), resolved)] == ["AAAA"]


def test_an_alias_for_host_keys_is_written_without_a_port() -> None:
    assert understood(SAID + "hostkeyalias i-0abc\n").key_name == "i-0abc"


def test_a_fingerprint_is_the_one_that_openssh_prints(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True)
    kind, blob = (tmp_path / "k.pub").read_text().split()[:2]
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(tmp_path / "k.pub")], capture_output=True, text=True, check=True
    )
    assert hostkeys.HostKey(kind, blob).fingerprint == shown.stdout.split()[1]


def test_no_line_for_the_host_has_a_character_that_csh_expands() -> None:
    """It replaces `!` even between single quotes."""
    assert not set("!\n") & set(bootstrap.command("follow", "run") + bootstrap.receive_bundle())


@pytest.mark.parametrize(
    "line", [bootstrap.command("helper"), bootstrap.receive_bundle(), startup_filter.RSYNC], ids=len
)
def test_a_line_that_the_host_shows_instead_of_running_it_prints_no_mark(line: str) -> None:
    """As a forced command that refuses it, by an `echo` that reads backslashes."""
    shown = subprocess.run(["/usr/bin/printf", "%b", line], capture_output=True, check=True).stdout
    assert b"gpujob" in shown
    assert b"\x1e" not in shown
    assert line.startswith("exec /bin/sh -c "), "no alias stands for a path"


@pytest.mark.parametrize("word", ["a b", "$(id)", "a;b", "", "é", "a\nb", "'"])
def test_only_safe_characters_are_put_into_a_shell_command(word: str) -> None:
    with pytest.raises(ValueError, match="not a plain word"):
        bootstrap.command("follow", word)


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_the_start_command_reports_what_is_missing_and_reads_the_bundle(shell: str, tmp_path: Path) -> None:
    def run(line: str, stdin: bytes = b"") -> bytes:
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
        return subprocess.run(
            [shell, "-c", line], input=stdin, capture_output=True, env=env, check=False
        ).stdout

    assert b"\x1egpujob missing " in run(bootstrap.command("helper"))
    assert b"\x1egpujob ready " in run(bootstrap.receive_bundle(), bootstrap.bundle_archive())
    assert b"\x1egpujob ready " in run(bootstrap.receive_bundle(), bootstrap.bundle_archive())
    onhost = tmp_path / ".gpujob" / "onhost"
    assert [p.name for p in onhost.iterdir()] == [helper_host.digest()]
    output = run(bootstrap.command("helper"), b'{"id": 1, "op": "status"}\n')
    ready = f"\x1egpujob ready {tmp_path}/.gpujob"
    assert output.splitlines()[:2] == [b"\x1egpujob shell", ready.encode()]
    assert b'"runs": []' in output


def test_a_home_of_any_name_takes_the_bundle(tmp_path: Path) -> None:
    """GNU tar takes a backslash in the name of its folder for the beginning of another character."""
    for name in ("DOM\\nana", "o'brien $x", "a;b"):
        home = tmp_path / name
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home)}
        words = ["sh", "-c", bootstrap.receive_bundle()]
        archive = bootstrap.bundle_archive()
        done = subprocess.run(words, input=archive, capture_output=True, env=env, check=False)
        assert f"\x1egpujob ready {home}/.gpujob\n".encode() in done.stdout, done.stderr
        assert (home / ".gpujob" / "onhost" / helper_host.digest() / "__main__.py").is_file()


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_folder_with_nothing_but_pythons_cache_is_no_helper(shell: str, tmp_path: Path) -> None:
    """A volume was mounted over the root while a helper ran, which then wrote its cache into the volume."""
    folder = tmp_path / ".gpujob" / "onhost" / helper_host.digest()
    cache = folder / "orchestrator" / "onhost" / "__pycache__"
    cache.mkdir(parents=True)
    (cache / "runs.cpython-311.pyc").write_bytes(b"")

    def run(line: str, stdin: bytes = b"") -> bytes:
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
        words = [shell, "-c", line]
        return subprocess.run(words, input=stdin, capture_output=True, env=env, check=False).stdout

    assert b"\x1egpujob missing " in run(bootstrap.command("helper"))
    assert b"\x1egpujob ready " in run(bootstrap.receive_bundle(), bootstrap.bundle_archive())
    assert [p.name for p in folder.parent.iterdir()] == [helper_host.digest()]
    assert b'"runs": []' in run(bootstrap.command("helper"), b'{"id": 1, "op": "status"}\n')


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_partial_bundle_is_removed_at_once_or_by_the_next_upload(shell: str, tmp_path: Path) -> None:
    onhost = tmp_path / ".gpujob" / "onhost"

    def receive(sent: bytes) -> int:
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
        words = [shell, "-c", bootstrap.receive_bundle()]
        return subprocess.run(words, input=sent, capture_output=True, env=env, check=False).returncode

    archive = bootstrap.bundle_archive()
    for sent in (archive[: len(archive) // 2], b""):
        assert receive(sent) == 92
        assert list(onhost.iterdir()) == []
    died, under_way = f".{helper_host.digest()}.{2**22 + 1}", f".{helper_host.digest()}.{os.getpid()}"
    for name in (died, under_way):
        (onhost / name / "orchestrator").mkdir(parents=True)
    assert receive(archive) == 0
    assert sorted(p.name for p in onhost.iterdir()) == [under_way, helper_host.digest()]
