"""Commands work without the client's state folder: the host is the truth, the cache a convenience."""

from __future__ import annotations

from tests.support import Client


def test_status_monitor_and_fetch_work_without_a_usable_state_folder(client: Client) -> None:
    client.job("print('done')", outputs=[])
    assert client.run("deploy", "job", "--on", "local", "--follow").code == 0
    (folder,) = (client.root / "runs").iterdir()
    client.state_dir.rename(client.home / "before")
    client.state_dir.write_text("no folder")
    for words in (("status",), ("monitor", folder.name), ("fetch", folder.name)):
        result = client.run(*words, "--on", "local")
        assert result.code == 0, (words, result.err)
