"""Pages in a headless Chromium: how wide they are and which colours they have, on a phone and on a screen."""

from __future__ import annotations

import html
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.rigs.needs import browser

WIDTHS = (390, 1280)
_PAGE = """<!doctype html><meta charset="utf-8"><body><script>
const all = %s, seen = [];
function next() {
  if (!all.length) { document.body.textContent = "SEEN" + JSON.stringify(seen) + "SEEN"; return; }
  const [page, scheme, width] = all.shift(), frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:900px;border:0;color-scheme:${scheme}`;
  frame.onload = () => {
    const inner = frame.contentDocument, style = frame.contentWindow.getComputedStyle(inner.body);
    const broken = [...inner.images].filter(image => !image.naturalWidth).map(image => image.src);
    seen.push([page, scheme, width, inner.documentElement.scrollWidth, style.backgroundColor,
      inner.querySelectorAll("svg path").length, inner.title, broken]);
    frame.remove();
    next();
  };
  frame.src = page;
  document.body.append(frame);
}
next();
</script>"""


class Look(NamedTuple):
    """`scrolled`: the width of the content. `paths`: of pictures. `broken`: images that cannot be shown."""

    page: str
    scheme: str
    width: int
    scrolled: int
    background: str
    paths: int
    title: str
    broken: list[str]


def looks(folder: Path, pages: Sequence[Path]) -> list[Look]:
    """Each page light and dark, at each width. `folder` is for the browser's own files."""
    wanted = [
        (page.as_uri(), scheme, width) for page in pages for scheme in ("light", "dark") for width in WIDTHS
    ]
    frames = folder / "frames.html"
    frames.write_text(_PAGE % json.dumps(wanted))
    words = [browser() or "chromium", "--headless", "--no-sandbox", "--disable-gpu"]
    words += ["--allow-file-access-from-files", "--virtual-time-budget=600000"]
    words += [f"--user-data-dir={folder}/profile", "--dump-dom", frames.as_uri()]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return [Look(*one) for one in json.loads(html.unescape(shown.split("SEEN")[1]))]
