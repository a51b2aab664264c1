"""Makes docs/pictures/: screens of real runs on this machine, and the page of `gpujob report` about them.

python docs/make_pictures.py [NAME...]      needs tmux, Chromium and Linux; about four minutes

A training script of a few lines runs several times; tmux is a terminal of three sizes, and Rich writes
what it shows as SVG. The picture of a command that ends is as high as what it printed.
"""

from __future__ import annotations

import html
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI, TerminalTheme
from rich.text import Text

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "docs" / "pictures"
SIZES = ((60, 24), (80, 24), (160, 48))
LIGHT = TerminalTheme(
    (255, 255, 255),
    (40, 40, 40),
    [
        (0, 0, 0),
        (180, 0, 0),
        (0, 120, 0),
        (140, 100, 0),
        (0, 60, 180),
        (140, 0, 140),
        (0, 110, 130),
        (90, 90, 90),
    ],
    [
        (60, 60, 60),
        (200, 0, 0),
        (0, 140, 0),
        (160, 120, 0),
        (0, 80, 200),
        (160, 0, 160),
        (0, 130, 150),
        (0, 0, 0),
    ],
)
THEMES = {"dark": DIMMED_MONOKAI, "light": LIGHT}
TRAIN = """
import json, math, os, random, time
steps = int(os.environ.get("STEPS", "2000"))
rate = json.loads(os.environ["GPUJOB_CONFIG"])["lr"]
for step in range(1, steps + 1):
    time.sleep(0.1 if steps == 2000 else 0.01)
    loss = 2.3 * math.exp(-step * rate) + 0.15 + random.random() * 0.05
    if step % 5 == 0:
        lr = rate * (1 - step / steps)
        print(f"step {step}/{steps} loss {loss:.4f} lr {lr:.2e} grad_norm {2 * loss:.3f}", flush=True)
    if step % 100 == 0:
        print(f"step {step}/{steps} val_loss {loss + 0.1:.4f} val_accuracy {1 - loss / 3:.4f}", flush=True)
"""
FAULTY = "print('loading the data', flush=True)\nraise SystemExit('no file data/train.csv')\n"
JOBS = {
    "train-a": "command: [python3, train.py]\nconfig: {lr: 0.0014}\n",
    "train-b": "command: [python3, train.py]\nconfig: {lr: 0.0009}\n",
    "train-c": "command: [python3, faulty.py]\n",
    "short": "command: [python3, train.py]\nconfig: {lr: 0.002}\nenv: {vars: {STEPS: '400'}}\n",
    "typo": "comand: [python3, train.py]\n",
}
SCREENS = {
    "monitor-many": "gpujob monitor",
    "monitor-one": "gpujob monitor train-a",
    "status": "gpujob status",
    "runs": "gpujob runs --sort val.loss",
    "check": "gpujob check short",
    "dry-run": "gpujob deploy short --dry-run",
    "deploy": "gpujob deploy short",
    "failure": "gpujob monitor train-c",
    "error": "gpujob deploy typo",
}
MARKS = {"monitor-many": "live runs", "monitor-one": "Ctrl-C leaves"}  # the last line of a screen that stays
REPORT = "report"  # the picture of the page
AFTERWARDS = {"deploy": "gpujob stop short --now --purge --yes -q"}


def prepare(home: Path) -> dict[str, str]:
    """A project with three jobs, and the environment that its commands run in."""
    for folder in ("bin", "project"):
        (home / folder).mkdir()
    starter = "from orchestrator.cli import script; script()"
    (home / "bin" / "gpujob").write_text(
        f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -c '{starter}' \"$@\"\n"
    )
    (home / "bin" / "gpujob").chmod(0o755)
    project = home / "project"
    (project / "train.py").write_text(TRAIN)
    (project / "faulty.py").write_text(FAULTY)
    for name, text in JOBS.items():
        (project / f"{name}.yaml").write_text(f"name: {name}\n{text}")
    env = {"HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}", "LANG": "C.UTF-8", "USER": "ana"}
    env |= {
        "GPUJOB_ROOT": str(home / "root"),
        "GPUJOB_TARGET": "local",
        "PYTHONPATH": str(REPOSITORY),
        "TERM": "xterm-256color",
    }
    return env | {"XDG_STATE_HOME": str(home / "state"), "XDG_CONFIG_HOME": str(home / "config")}


def capture(home: Path, env: dict[str, str], name: str, command: str, size: tuple[int, int]) -> None:
    """Runs a command in a terminal of that size, and writes what it shows in both colour schemes."""
    tmux = ["tmux", "-f", "/dev/null", "-S", str(home / "pictures.sock")]
    width, height = size
    done = home / "done"
    done.unlink(missing_ok=True)
    line = f"printf '$ %s\\n' {shlex.quote(command)}; {command}; touch {done}; sleep 300"
    words = [
        *tmux,
        "new-session",
        "-d",
        "-x",
        str(width),
        "-y",
        str(height),
        "-s",
        "picture",
        "sh",
        "-c",
        line,
    ]
    subprocess.run(words, env=env, cwd=home / "project", check=True)
    subprocess.run([*tmux, "set", "-g", "status", "off"], env=env, check=False)
    words = [*tmux, "capture-pane", "-e", "-p", *([] if name in MARKS else ["-S", "-"])]
    for _ in range(600):
        shown = subprocess.run(words, env=env, check=True, capture_output=True)
        if done.exists() or (
            MARKS.get(name, "\n\0").encode() in shown.stdout and b"asking" not in shown.stdout
        ):
            break
        time.sleep(0.2)
    shown = subprocess.run(words, env=env, check=True, capture_output=True)
    subprocess.run([*tmux, "kill-session", "-t", "picture"], env=env, check=False)
    text = Text.from_ansi(shown.stdout.decode().rstrip("\n").replace(str(home), "~"))
    for scheme, theme in THEMES.items():
        console = Console(record=True, width=width, height=height, file=io.StringIO(), force_terminal=True)
        console.print(text, end="\n\n" if name not in MARKS else "")
        path = FOLDER / f"{name}-{width}x{height}-{scheme}.svg"
        drawn = console.export_svg(title=command, theme=theme, unique_id=f"{name}-{width}")
        path.write_text("\n".join(line.rstrip() for line in in_columns(drawn).splitlines()) + "\n")


_TEXT = re.compile(
    r'<text (class="[^"]+" )x="([\d.]+)" (y="[\d.]+" )textLength="([\d.]+)" ([^>]*)>([^<]*)</text>'
)
_DRAWN = re.compile(r"[─-▟]+|[^─-▟]+")  # lines and blocks, and other characters


def in_columns(svg: str) -> str:
    """The picture with each curve in its columns: a browser takes curves from a font with other widths."""
    return _TEXT.sub(_parts, svg)


def _parts(match: re.Match[str]) -> str:
    name, left, line, width, rest, content = match.groups()
    text = html.unescape(content)
    runs = _DRAWN.findall(text)
    if len(runs) < 2:
        return match[0]
    cell, parts, x = float(width) / cell_len(text), [], float(left)
    for run in runs:
        shown = html.escape(run).replace("\N{NO-BREAK SPACE}", "&#160;").replace("&#x27;", "&#39;")
        length = cell * cell_len(run)
        parts.append(f'<text {name}x="{x:.4g}" {line}textLength="{length:.4g}" {rest}>{shown}</text>')
        x += length
    return "".join(parts)


def photograph(home: Path, env: dict[str, str]) -> None:
    """Takes pictures of the top of the page of `gpujob report` in both colour schemes."""
    page = home / "report.html"
    words = ["gpujob", "report", "short", "train-a", "--to", str(page)]
    subprocess.run(words, env=env, cwd=home / "project", check=True)
    names = ("chromium", "chromium-headless-shell", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)))
    for scheme in THEMES:
        frame = home / "frame.html"
        style = f"border:0;width:100vw;height:100vh;color-scheme:{scheme}"
        frame.write_text(f'<body style="margin:0"><iframe src="{page.as_uri()}" style="{style}"></iframe>')
        words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        words += [
            "--allow-file-access-from-files",
            "--window-size=1280,900",
            f"--user-data-dir={home}/profile",
        ]
        words += [f"--screenshot={FOLDER / f'{REPORT}-{scheme}.png'}", frame.as_uri()]
        subprocess.run(words, check=True, capture_output=True)


def main(names: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gj-", dir="/tmp") as folder:
        home = Path(folder)
        env = prepare(home)

        def run(command: str) -> None:
            subprocess.run(shlex.split(command), env=env, cwd=home / "project", check=False)

        for job in ("short", "train-a", "train-b", "train-c"):
            run(f"gpujob deploy {job} -q --share-gpu")
        time.sleep(15)
        try:
            if REPORT in (names or [REPORT]):
                photograph(home, env)
            for name in [name for name in names or SCREENS if name != REPORT]:
                for size in SIZES:
                    capture(home, env, name, SCREENS[name], size)
                    if name in AFTERWARDS:
                        run(AFTERWARDS[name])
        finally:
            for job in ("train-a", "train-b"):
                run(f"gpujob stop {job} --now -q")
            for socket in (home / "pictures.sock", home / "root" / "tmux.sock"):
                subprocess.run(["tmux", "-S", str(socket), "kill-server"], env=env, check=False)


if __name__ == "__main__":
    main(sys.argv[1:])
