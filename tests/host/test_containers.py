"""Jobs with an image: their command runs in a container, with the log, stop and fetch of any run."""

from __future__ import annotations

import json
import os
import signal

import pytest

from orchestrator.onhost import processes
from tests.rigs.engine import IMAGE, Engine
from tests.rigs.patience import wait_until
from tests.support import Client

SECRET = "first line of a secret\nsecond = line"


@pytest.fixture
def engine(client: Client) -> Engine:
    engine = Engine(client.home / "engine")
    client.env["PATH"] = f"{engine.folder}:{client.env['PATH']}"
    return engine


def job(client: Client, script: str, **keys: object) -> None:
    content = {
        "name": "job",
        "image": IMAGE,
        "command": ["sh", "-c", script],
        "resources": {"gpus": 0},
        **keys,
    }
    client.write("job.yaml", json.dumps(content))


def test_a_command_in_an_image_has_the_files_and_variables_of_the_run(client: Client, engine: Engine) -> None:
    client.env["SECRET"] = SECRET
    client.write("data/x.txt", "of the data\n")
    script = (
        'echo "$A|$SECRET|$(pwd)|$(id -u)"; cat "$GPUJOB_DATA_D/x.txt"; '
        'echo w > "$GPUJOB_CHECKPOINTS/model"; '
        'mkdir out; echo o > out/o; touch "$HOME/kept" "$TMPDIR/t"'
    )
    env = {"vars": {"A": "#a 'b' \"c\" $d"}}
    job(client, script, env=env, pass_env=["SECRET"], data={"d": "data"}, outputs=["out"])
    done = client.run("deploy", "job", "--follow")
    assert done.code == 0, done.err + done.out
    run_id = client.state()["id"]
    folder = client.folder(run_id)
    assert f"#a 'b' \"c\" $d|{SECRET}|{folder}/work|{os.getuid()}\nof the data\n" in done.out
    assert (client.root / "cache" / "home" / "kept").exists()
    fetched = client.run("fetch", "job", "--json").json
    assert {one["path"] for one in fetched["files"]} >= {"checkpoints/model", "outputs/out/o"}
    record = json.loads((folder / "run.json").read_text())
    assert record["image"]["name"] == IMAGE
    assert len(record["image"]["id"].removeprefix("sha256:")) == 64
    shown = 'echo "$A $(pwd) $GPUJOB_MARK$SECRET"; exit 7'
    process = client.spawn("ssh", "job", "--", "sh", "-c", shown)
    out, err = process.communicate()
    assert (process.returncode, out.decode().strip()) == (7, f"#a 'b' \"c\" $d {folder}"), err
    for words in engine.calls("run"):
        assert SECRET not in " ".join(words)
        assert words[-4:] == [record["image"]["id"], "-c", script] or words[-3:-1] == [
            record["image"]["id"],
            "-c",
        ]


def test_a_container_is_asked_to_stop_also_without_its_supervisor(client: Client, engine: Engine) -> None:
    script = "trap 'echo saved > $GPUJOB_CHECKPOINTS/$GPUJOB_ATTEMPT; exit 75' TERM; echo ready; "
    job(client, script + "while :; do sleep 0.1; done")
    run_id = client.run("deploy", "job").out.strip()
    folder = client.folder(run_id)
    client.until(lambda run: "ready" in run["last_lines"])
    state = json.loads((folder / "state.json").read_text())
    for name in ("supervisor", "child"):  # the child is the command of the engine
        os.kill(state[name]["pid"], signal.SIGKILL)
    wait_until(
        lambda: processes.start_ticks(state["child"]["pid"]) is None, "the end of the engine's command"
    )
    mark = json.loads((folder / "run.json").read_text())["mark"]
    assert processes.by_mark()[mark]
    stopped = client.run("stop", "job")
    assert (stopped.code, client.state()["state"]) == (0, "stopped"), stopped.err
    assert (folder / "checkpoints" / "1").exists()
    assert mark not in processes.by_mark()

    again = client.run("deploy", "--resume", run_id)
    assert again.code == 0, again.err
    wait_until(lambda: (folder / "log").read_text().count("ready") == 2, "the second attempt")
    assert client.run("stop", "job").code == 0
    assert (folder / "checkpoints" / "2").exists()
    assert mark not in processes.by_mark()
