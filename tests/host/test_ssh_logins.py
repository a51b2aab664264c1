"""Logins over a real sshd: keys, host keys, shells and what they print."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable

import pytest

from orchestrator.targets.ssh import host
from tests.host.machines import log_in_to, new_machine
from tests.host.test_ssh import ON, root
from tests.rigs.fakehost import FakeHost
from tests.rigs.patience import PATIENCE
from tests.support import Client


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_a_command(
    client: Client, machine: FakeHost
) -> None:
    log_in_to(client, machine, known=False)
    refused = client.run("status", *ON)
    assert refused.code == 4
    command = f"gpujob hosts attach gpu --fingerprint {machine.fingerprint()}"
    assert command in refused.err
    assert client.run("hosts", "attach", "gpu").code == 7
    wrong = client.run("hosts", "attach", "gpu", "--fingerprint", "SHA256:else")
    assert (wrong.code, "nothing was recorded" in wrong.err) == (4, True)
    assert client.run("status", *ON).code == 4
    assert client.run(*command.split()[1:]).code == 0
    assert client.run("status", *ON).code == 0
    assert machine.fingerprint() in client.run("hosts", "list").out


@pytest.mark.parametrize("way", ["", "  CertificateFile /none\n"])
def test_a_man_in_the_middle_with_another_key_is_refused_and_gets_nothing(
    client: Client, machine: FakeHost, way: str
) -> None:
    log_in_to(client, machine, way)
    assert client.run("status", *ON).code == 0
    machine.kill_machine()  # ends the connections to the true host, which later commands would share
    machine.swap_host_key()
    machine.start()
    client.job("print(1)")
    for words in (("status",), ("deploy", "job"), ("fetch",)):
        refused = client.run(*words, *ON)
        assert refused.code == 4, refused.err
        assert "has changed" in refused.err
    assert not (root(machine) / "runs").exists()


def test_a_rejected_key_exits_4_and_lists_the_keys_that_were_tried(client: Client, machine: FakeHost) -> None:
    machine.add_key("stranger", known=False)
    log_in_to(client, machine)
    config = client.home / "ssh_config"
    config.write_text(
        config.read_text().replace(str(machine.user_key), str(machine.user_key.with_name("stranger")))
    )
    denied = client.run("status", *ON)
    assert denied.code == 4
    assert "accepts no key" in denied.err


def test_an_unreachable_host_exits_5(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    machine.kill_machine()
    assert client.run("doctor", *ON).code == 5


@pytest.mark.sshd
def test_a_minimal_shell_and_a_c_locale_work(client: Client) -> None:
    with new_machine(client, "m2", ip="127.0.0.3", shell="dash", locale="C") as machine:
        log_in_to(client, machine)
        client.job("print('héllo')")
        result = client.run("deploy", "job", *ON, "--follow")
        assert result.code == 0, result.err
        assert result.out.splitlines()[-1] == "héllo"


# Each with what its start-up file may hold.
SHELLS = {
    "zsh": (".zshenv", "setopt nomatch noclobber shwordsplit; precmd() { echo prompt }"),
    "fish": (".config/fish/config.fish", "function sh; echo no; end"),
    "tcsh": (".tcshrc", "set noclobber noglob; alias rm 'rm -i'; alias sh 'echo no'; set verbose"),
    "mksh": (".mkshrc", "set -o noclobber"),
}


@pytest.mark.sshd
@pytest.mark.parametrize("shell", SHELLS)
def test_any_login_shell_passes_words_data_and_results_on(
    client: Client, shell: str, trials: Callable[[int, int], int]
) -> None:
    if not (trials(0, 1) and shutil.which(shell)):
        pytest.skip(f"with GPUJOB_TEST_FULL=1 and {shell} installed")
    with new_machine(client, "m2", ip="127.0.0.3", shell=shell) as machine:
        log_in_to(client, machine)
        name, content = SHELLS[shell]
        (machine.home / name).parent.mkdir(parents=True, exist_ok=True)
        (machine.home / name).write_text(f"echo welcome\n{content}\n")
        client.write(".gitignore", "set/\n")
        client.write("set/a b", "data")
        body = "print(open(__import__('os').environ['GPUJOB_DATA_SET'] + '/a b').read())\n"
        body += "open('out x', 'w').write('42')"
        client.job(body, data={"set": "set"}, outputs=["out x"])
        deployed = client.run("deploy", "job", *ON, "--follow")
        assert (deployed.code, deployed.out.splitlines()[-1]) == (0, "data"), deployed.err
        assert client.run("fetch", *ON, "--to", "home").code == 0
        assert (client.project / "home/outputs/out x").read_text() == "42"
        words = ["a!b", "$HOME 'c'", "*", "{d,e}", "~", "(f)", "g;h", "%i", "^j", "k\\l", "!!"]
        printed = client.spawn("ssh", *ON, "--", "printf", "%s|", *words)
        out, err = printed.communicate(timeout=PATIENCE)
        assert out.decode().endswith("|".join([*words, ""])), err


@pytest.mark.parametrize(
    ("way", "noise"),
    [
        ("", "echo 'Welcome to the \\ box'; seq 5000; printf '\\036gpujob'"),
        ("  CertificateFile /none\n", "printf 'no newline'"),
    ],
)
def test_output_of_shell_start_up_files_disturbs_no_request_or_transfer(
    client: Client, machine: FakeHost, way: str, noise: str
) -> None:
    log_in_to(client, machine, way)
    (machine.home / ".bashrc").write_text(f"{noise}\n")
    client.job("open('out', 'w').write('42')", outputs=["out"])
    result = client.run("deploy", "job", *ON, "--follow")
    assert result.code == 0, result.err
    fetched = client.run("fetch", *ON, "--to", "home")
    assert fetched.code == 0, fetched.err
    assert (client.project / "home/outputs/out").read_text() == "42"


def test_text_printed_only_at_rsyncs_login_is_skipped_too(client: Client, machine: FakeHost) -> None:
    """For example a message that is printed at every other login."""
    log_in_to(client, machine)
    (machine.home / ".bashrc").write_text('case "$BASH_EXECUTION_STRING" in *rsync*) echo mail;; esac\n')
    client.job("print(1)")
    result = client.run("deploy", "job", *ON, "--follow")
    assert result.code == 0, result.err


def test_an_old_tmux_and_a_missing_python_are_named(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    client.job("print(1)")
    machine.plant("tmux", "#!/bin/sh\necho tmux 1.8\n")
    old = client.run("deploy", "job", *ON)
    assert (old.code, "tmux 1.8 is too old" in old.err) == (1, True)


@pytest.mark.parametrize("way", ["", "  CertificateFile /none\n"])
def test_start_up_files_that_keep_commands_from_running_are_named(
    client: Client, machine: FakeHost, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_NOTE_AFTER", 0.5)
    monkeypatch.setattr(host, "_PATIENCE", 0.6)
    log_in_to(client, machine, way)
    for content, why in {
        "read -r answer": "read from stdin",
        "cat > /dev/null": "read from stdin",
        "exec dash": "start another shell",
        "exec > /dev/null": "redirect stdout",
        "echo goodbye; exit 3": "goodbye",
        "set -e; grep -q x /nonexistent": "No such file",
        "yes": "print text without end",
        "echo Please log in as ana.; echo; exit 142": "Please log in as ana.",  # as EC2 answers root
        'echo -e "refused: $BASH_EXECUTION_STRING"; exit 1': "start-up files",
    }.items():
        (machine.home / ".bashrc").write_text(content + "\n")
        stopped = client.run("stop", *ON)
        assert (stopped.code, "gpu did not run a command" in stopped.err) == (5, True), stopped.err
        assert all(name in stopped.err for name in ("~/.bashrc", "~/.zshenv", "~/.tcshrc", "config.fish"))
        assert why in stopped.err


def test_a_python3_that_does_not_run_is_passed_over(client: Client, machine: FakeHost) -> None:
    """As the shim of a version manager that has no version chosen."""
    log_in_to(client, machine)
    machine.plant("python3", "#!/bin/sh\necho 'pyenv: python3: command not found' >&2\nexit 127\n")
    machine.plant("python3.14", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    client.job("print(6 * 7)")
    run = client.run("deploy", "job", *ON, "--follow")
    assert (run.code, run.out.splitlines()[-1:]) == (0, ["42"]), run.err
    shell = client.spawn("ssh", *ON, "job", "--", "echo", "there")
    assert shell.communicate(timeout=PATIENCE) == (b"there\n", b"")


def test_a_host_that_cannot_store_the_helper_says_why_at_once(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    full = "tar: x: Cannot write: No space left on device"
    machine.plant("tar", f"#!/bin/sh\necho '{full}\ntar: Exiting with failure status' >&2\nexit 2\n")
    pauses: list[float] = []
    refused = client.run("status", *ON, sleep=pauses.append)
    assert (refused.code, "gpu cannot store the helper" in refused.err) == (1, True), refused.err
    assert f"why:  {full}\n" in refused.err
    (machine.home / ".bashrc").write_text("PATH=/nonexistent\n")
    refused = client.run("status", *ON, sleep=pauses.append)
    assert refused.code == 1
    assert "mkdir: not found" in refused.err
    assert "the PATH that a start-up file (~/.bashrc) sets" in refused.err
    assert pauses == []


def test_settings_of_start_up_files_disturb_no_command(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    (machine.home / ".bashrc").write_text(
        "set -u; shopt -s expand_aliases; alias sh='echo no' rsync='echo no'; cd /; umask 000\n"
        "export PYTHONHOME=/nonexistent PYTHONPATH=/nonexistent BASH_ENV=~/.bashrc LC_ALL=nope\n"
        "command() { echo no; }; export -f command; trap 'echo debug' DEBUG\n"
    )
    client.job("open('out', 'w').write('42')", outputs=["out"])
    result = client.run("deploy", "job", *ON, "--follow")
    assert result.code == 0, result.err
    assert client.run("fetch", *ON).code == 0
