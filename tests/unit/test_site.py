"""The documentation as a site: it is built without a warning, and a browser shows it everywhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rigs import browser, once
from tests.support import REPOSITORY

pytestmark = pytest.mark.slow

PAGES = ("index", "quick-start", "job-file", "comparison", "cli")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, which the first process of a test run builds."""

    def build(folder: Path) -> None:
        words = ["sphinx", "-q", "-W", "-b", "html", str(REPOSITORY / "docs"), str(folder)]
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    return once.made_once(tmp_path_factory, "site", build)


def test_the_site_is_built_without_a_warning(site: Path) -> None:
    """`make docs`: each page is in a menu, and each link of a page leads to a page or a heading."""
    assert "<title>Quick start - gpujob</title>" in (site / "quick-start.html").read_text("utf-8")


@pytest.mark.browser
def test_a_browser_shows_the_site_on_phone_and_screen_light_and_dark(
    site: Path, tmp_path: Path, trials: Callable[[int, int], int]
) -> None:
    every = sorted(site.glob("*.html"))
    chosen = every if trials(0, 1) else [site / f"{name}.html" for name in PAGES]
    seen = browser.looks(tmp_path, chosen)
    assert len(seen) == 4 * len(chosen)
    assert [one for one in seen if one.scrolled > one.width] == [], "a page is wider than the screen"
    assert [one.broken for one in seen if one.broken] == []
    assert {(one.scheme, one.background) for one in seen} == {
        ("light", "rgb(255, 255, 255)"),
        ("dark", "rgb(19, 20, 22)"),
    }
