"""Curves as SVG, drawn by vl-convert (Vega-Lite). No text of a run enters a picture: the legend is HTML."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from orchestrator.core.curves import Curve
from orchestrator.errors import GpujobError

WIDTH, HEIGHT = 330, 165
COLOURS = 20  # --c0 … of the page
MOST_CHARTS = 30
_DECADES = 1000.0  # greatest over least value, from which a scale is logarithmic
_LONG = re.compile(r"(\.\d)\d+")
_PATH = re.compile(r' d="[^"]*"')
TITLES = {"lr": "learning rate", "grad_norm": "gradient norm", "rate": "samples per second"}


class Line(msgspec.Struct, frozen=True):
    """A curve of the run number `run`; the lines of training and validation differ in their dashes."""

    run: int
    curve: Curve


class Chart(msgspec.Struct, frozen=True):
    """One metric of all runs."""

    name: str
    lines: tuple[Line, ...]

    @property
    def is_logarithmic(self) -> bool:
        low = min((line.curve.low or 0.0 for line in self.lines), default=0.0)
        high = max((line.curve.high or 0.0 for line in self.lines), default=0.0)
        return low > 0.0 and high / low >= _DECADES

    @property
    def constant(self) -> float | None:
        """The one value that all points have; None where there are several."""
        values = {value for line in self.lines for value in (line.curve.low, line.curve.high)}
        return values.pop() if len(values) == 1 else None


def require_library() -> None:
    """GpujobError that names the extra where vl-convert is not installed."""
    try:
        import vl_convert  # noqa: F401, PLC0415
    except ImportError:
        what, why = "gpujob report needs vl-convert", "the extra `report` is not installed"
        raise GpujobError(what, why, "python -m pip install 'vl-convert-python>=1.7'") from None


def charts(curves: Sequence[dict[tuple[str, str], Curve]]) -> Iterator[Chart]:
    """A chart for each metric: loss first, then what the validation measured, then rates and norms."""
    names = dict.fromkeys(name for run in curves for name, _ in run)
    last = ("lr", "grad_norm", "rate")
    ordered = sorted(names, key=lambda name: (name != "loss", last.index(name) + 1 if name in last else 0))
    for name in ordered[:MOST_CHARTS]:
        lines = [
            Line(number, curve)
            for number, run in enumerate(curves)
            for key, curve in run.items()
            if key[0] == name and curve.points
        ]
        if lines:
            yield Chart(name, tuple(lines))


def svg(chart: Chart) -> str:
    """The picture, with colours as variables of the page and numbers to a tenth of a pixel."""
    import vl_convert  # noqa: PLC0415

    text: str = vl_convert.vegalite_to_svg(_specification(chart), allowed_base_urls=[])
    text = re.sub(
        r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text, count=1
    )
    return _PATH.sub(lambda path: _LONG.sub(r"\1", path.group()), text)


def _specification(chart: Chart) -> dict[str, Any]:
    """Of Vega-Lite. Points that lie where the one before does, to a tenth of a pixel, say nothing."""
    columns = max(60, WIDTH // (1 + len(chart.lines) // 12))
    values = [
        {"x": x, "y": y, "r": line.run % COLOURS, "k": number, "d": int(line.curve.split != "train")}
        for number, line in enumerate(chart.lines)
        for x, y in line.curve.thinned(columns)
    ]
    scale: dict[str, Any] = {"type": "log"} if chart.is_logarithmic else {"zero": False}
    if (constant := chart.constant) is not None:  # else the axis of one value would have a rounded label
        scale["domain"] = [constant - 0.1 * abs(constant), constant + 0.1 * abs(constant)]
    if constant == 0.0:
        scale["domain"] = [-1.0, 1.0]
    is_single = all(len(line.curve.points) == 1 for line in chart.lines)
    axis = {"title": None, "grid": True, "tickCount": 5}
    colours = {"domain": list(range(COLOURS)), "range": [f"var(--c{number})" for number in range(COLOURS)]}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": WIDTH,
        "height": HEIGHT,
        "background": "transparent",
        "data": {"values": values},
        "mark": {"type": "point" if is_single else "line", "strokeWidth": 1.5, "clip": True},
        "encoding": {
            "x": {
                "field": "x",
                "type": "quantitative",
                "axis": {**axis, "format": "~s"},
                "scale": {"nice": False, "zero": False},
            },
            "y": {"field": "y", "type": "quantitative", "axis": axis, "scale": scale},
            "color": {"field": "r", "type": "nominal", "scale": colours, "legend": None},
            "strokeDash": {
                "field": "d",
                "type": "nominal",
                "scale": {"domain": [0, 1], "range": [[1, 0], [5, 3]]},
                "legend": None,
            },
            "detail": {"field": "k"},
        },
        "config": {
            "view": {"stroke": None},
            "font": "sans-serif",
            "axis": {
                "labelColor": "var(--dim)",
                "labelFontSize": 11,
                "gridColor": "var(--line)",
                "domainColor": "var(--line)",
                "tickColor": "var(--line)",
            },
        },
    }


def number(value: float | None) -> str:
    """Four digits; a dash for what is not known."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.4g}"
