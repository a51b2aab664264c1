"""A simulated remote host: a real sshd on loopback with its own keys, home and processes."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from tests.rigs import hostfiles, keys, needs, process
from tests.rigs.patience import PATIENCE

Address = tuple[str, int]


@dataclass
class FakeHost:
    """`with FakeHost(folder, ip="127.0.0.2") as host:` runs a machine until the end of the block.

    `folder` is the machine's disk; keep its path short, since it contains sockets. The user is the one who
    runs the test, with the home `folder`/home. Commands are run by `shell -c`; rsync, scp and sftp work. No
    environment variable of the client is passed on. sshd has its default limits.

    isolate: own process numbers and an own, empty /tmp; the default, and only possible, as root.
    shell: a program found in PATH, such as "dash". locale: the value of LANG, "C" for one without UTF-8.
    noisy_bashrc: printed by ~/.bashrc, so by every command where the shell is bash.
    path_prepend: folders of PATH between ~/bin and the system's. visible: what to keep below the own /tmp.
    prefix: words before the server's command, such as those that enter a network namespace.
    config: lines for sshd_config that win over the rig's; end a Match block in it with "Match all".
    """

    folder: Path
    _: KW_ONLY
    ip: str = "127.0.0.1"
    isolate: bool = field(default_factory=needs.is_root)
    shell: str = "bash"
    locale: str = "C.UTF-8"
    noisy_bashrc: str = ""
    path_prepend: tuple[Path, ...] = ()
    visible: tuple[Path, ...] = ()
    prefix: tuple[str, ...] = ()
    config: str = ""

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()
        self.port = process.free_port(self.ip)
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.home = self.folder / "home"
        self.bin = self.home / "bin"
        self.user_key = self.folder / "id_ed25519"
        self._host_key = self.folder / "host_key"
        self._log = self.folder / "sshd.log"
        self._mark = f"FAKEHOST={self.folder}"
        self._process: subprocess.Popen[bytes] | None = None
        self._listener = 0
        self._make_disk()

    def __enter__(self) -> FakeHost:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_machine()

    def start(self) -> None:
        """Boot with an empty /tmp and wait until sshd listens. RuntimeError with sshd's output if not."""
        if needs.is_root():
            Path("/run/sshd").mkdir(
                mode=0o755, exist_ok=True
            )  # sshd of root asks for it; packages do not make it
        self._empty_tmp()
        before = self._listening()
        with self._log.open("ab") as log:
            self._process = process.guarded(self._command(), log, log)
        self._await_listening(before)
        self._listener = process.children(self._process.pid)[0] if self.isolate else self._process.pid

    def kill_machine(self) -> None:
        """Kill every process of the machine; the disk is kept.

        The kernel closes the connections, which a lost machine would not; for silence, stall a proxy first.
        """
        if self._process is None:
            return
        if not self.isolate:
            process.end_tree(self._process.pid, self._mark.encode())
        elif self._process.poll() is None:
            os.kill(self._listener, signal.SIGKILL)  # the first of its namespace: the kernel ends the others
        self._process.wait()
        self._process = None

    def reboot(self) -> None:
        """End every process and empty /tmp; disk, keys and address are kept. The boot id is this system's."""
        self.kill_machine()
        self.start()

    def swap_host_key(self) -> None:
        """Show another host key from now on, as a man in the middle would; open sessions continue."""
        keys.make_key(self._host_key)
        if self._process is not None:
            before = self._listening()
            os.kill(self._listener, signal.SIGHUP)
            self._await_listening(before)

    def plant(self, name: str, script: str) -> Path:
        """Write a program into ~/bin, first in PATH; `script` is its text, starting with #!."""
        path = self.bin / name
        path.write_text(script)
        path.chmod(0o755)
        return path

    def log_text(self) -> str:
        """Return sshd's log since the disk was created."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def address(self) -> Address:
        return self.ip, self.port

    def add_key(
        self, name: str, kind: keys.Kind = "ed25519", passphrase: str = "", *, known: bool = True
    ) -> Path:
        """Create another user key; the machine accepts it unless `known` is false."""
        path = keys.make_key(self.folder / name, kind, passphrase)
        if known:
            with (self.folder / "authorized_keys").open("a") as file:
                file.write(keys.public_key(path) + "\n")
        return path

    def fingerprint(self) -> str:
        """Return the fingerprint `SHA256:...` of the current host key."""
        return keys.fingerprint(keys.public_key(self._host_key))

    def known_hosts_line(self, name: str | None = None) -> str:
        """Return the known_hosts line for the current host key under `name`, by default the address."""
        return f"{name or f'[{self.ip}]:{self.port}'} {keys.public_key(self._host_key)}"

    def ssh_config(self, alias: str, address: Address | None = None) -> str:
        """Return a block for ~/.ssh/config; `address` is that of a proxy in front of the machine."""
        return hostfiles.user_config(alias, address or self.address, self.user, self.user_key)

    def ssh_options(self, address: Address | None = None) -> list[str]:
        """Return options for `ssh`, without a destination (any works). The user's ~/.ssh is not read.

        The machine's first host key is trusted, so a swapped one is refused.
        """
        settings = {
            "HostName": (address or self.address)[0],
            "Port": (address or self.address)[1],
            "User": self.user,
            "IdentityFile": self.user_key,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "HostKeyAlias": "fakehost",
            "UserKnownHostsFile": self.folder / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
        }
        return [
            "-F",
            "none",
            *(word for name, value in settings.items() for word in ("-o", f"{name}={value}")),
        ]

    def ssh(self, command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run `ssh HOST command` and wait for it; `more` is passed to subprocess.run."""
        words = [*("ssh", *self.ssh_options()), "fakehost", command]
        return subprocess.run(
            words, **{"capture_output": True, "text": True, "timeout": PATIENCE, "check": False, **more}
        )

    def _make_disk(self) -> None:
        self.bin.mkdir(parents=True, exist_ok=True)
        keys.make_key(self._host_key)
        self.add_key(self.user_key.name)
        (self.folder / "known_hosts").write_text(self.known_hosts_line("fakehost") + "\n")
        (self.home / ".profile").write_text('PATH="$HOME/bin:$PATH"\n')
        if self.noisy_bashrc:
            (self.home / ".bashrc").write_text(f"echo {shlex.quote(self.noisy_bashrc)}\n")
        path = [str(self.bin), *map(str, self.path_prepend), process.PATH]
        shell = needs.tool(self.shell) or self.shell
        login = self.folder / "login"
        login.write_text(hostfiles.login_script(shell=shell, locale=self.locale, path=path, mark=self._mark))
        login.chmod(0o755)
        (self.folder / "sshd_config").write_text(
            hostfiles.sshd_config(folder=self.folder, ip=self.ip, port=self.port, extra=self.config)
        )

    def _empty_tmp(self) -> None:
        tmp = self.folder / "tmp"
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir()
        tmp.chmod(0o1777)

    def _command(self) -> list[str]:
        sshd = [needs.tool("sshd") or "sshd", "-D", "-e", "-f", str(self.folder / "sshd_config")]
        if not self.isolate:
            return [*self.prefix, *sshd]
        visible = (self.folder, *self.path_prepend, *self.visible)
        script = "\n".join([*hostfiles.private_tmp(self.folder / "tmp", visible), f"exec {shlex.join(sshd)}"])
        unshare = ["unshare", "--fork", "--pid", "--mount", "--mount-proc", "--kill-child=KILL"]
        return [*self.prefix, *unshare, "sh", "-c", script]

    def _listening(self) -> int:
        return self.log_text().count("Server listening on")

    def _await_listening(self, before: int) -> None:
        end = time.monotonic() + PATIENCE
        while self._listening() == before:
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > end:
                self._process.kill()
                self._process.wait()
                self._process = None
                raise RuntimeError(f"sshd does not listen: {self.log_text()[-2000:]}")
            time.sleep(0.002)
