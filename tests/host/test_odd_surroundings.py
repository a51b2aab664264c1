"""Runs whose login shell, configuration of tmux or own events would prevent their start or their end."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from orchestrator.core import tmux
from tests.host.scripts import deployed, wait_for_output
from tests.support import Client


def test_a_run_starts_without_the_login_shell(client: Client) -> None:
    """tmux would start its command with it; that of a service account runs nothing."""
    client.env["SHELL"] = "/bin/false"
    client.job("print('hello')")
    deployed(client)
    assert client.run("monitor", "--stream").out == "hello\n"


def test_a_session_stays_whatever_the_systems_configuration_of_tmux(tmp_path: Path) -> None:
    """Before tmux 3.2, /etc/tmux.conf is read before ours."""
    conf, at = tmp_path / "conf", tmux.server(str(tmp_path / "s"), str(tmp_path / "conf"))
    settings = "destroy-unattached on", "exit-unattached on", "prefix C-a", "status off"
    conf.write_text("".join(f"set -g {one}\n" for one in settings) + "unbind d\n" + tmux.CONF)
    subprocess.run(tmux.new(at, "run", "/", ["sleep", "60"]), check=True)
    try:
        for words in (["has-session", "-t", "=run"], ["show-options", "-g"], ["list-keys", "-T", "prefix"]):
            shown = subprocess.run([*at, *words], capture_output=True, text=True, check=True).stdout
            if words[0] == "show-options":
                assert {"prefix C-b", "status on", "destroy-unattached off"} <= set(shown.splitlines())
        assert re.search(r" d +detach-client", shown)
    finally:
        subprocess.run([*at, "kill-server"], check=True)


def test_events_that_no_parser_takes_lose_neither_end_nor_stop_of_a_run(client: Client) -> None:
    nested = "import os, sys, time\nwith open(os.environ['GPUJOB_EVENTS'], 'a') as events:\n"
    nested += "    events.write('[' * 2000 + '\\n{\"event\": ' + '[' * 5000 + '\\n')\n"
    nested += "print('written', flush=True)\n"
    client.job(nested + "sys.exit(3)")
    first = deployed(client)
    assert client.until("failed")["exit_code"] == 3
    assert client.run("stop", first, "--purge", "--yes").code == 0
    client.job(nested + "time.sleep(300)")
    wait_for_output(client, deployed(client))
    stopped = client.run("stop", "--now")
    assert (stopped.code, "no process is left" in stopped.out) == (0, True), stopped.err
