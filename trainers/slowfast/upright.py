"""Filters that give pictures of a video upright, with square pixels, cropped and scaled."""

import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from trainers.data.refusal import Unusable

Box = tuple[int, int, int, int]
"""A rectangle: x, y, width and height in pixels of the upright picture with square pixels."""

Filters = list[tuple[str, str]]
"""Names and arguments of FFmpeg's filters."""

Geometry = tuple[object, ...]

TRANSPOSE = "dir=cclock_flip"
"""Of the filter `transpose`: swaps x and y, and turns nothing."""


def turns(picture: Any) -> Filters:
    """The filters that show a picture as its display matrix says, which turns and mirrors by right angles.

    The matrix (a, b, c, d) shows (x, y) at (a x + c y, b x + d y); phones mirror what their front cameras
    see. See ISO/IEC 14496-12, 8.3.2.
    """
    entry = picture.side_data.get("DISPLAYMATRIX")
    a, b, _, c, d = struct.unpack("=5i", bytes(entry)[:20]) if entry else (1, 0, 0, 0, 1)
    swapped = abs(b) > abs(a)
    across, down = (c, b) if swapped else (a, d)
    return [
        *([("transpose", TRANSPOSE)] if swapped else []),
        *([("hflip", "")] if across < 0 else []),
        *([("vflip", "")] if down < 0 else []),
    ]


def geometry(picture: Any) -> Geometry:
    """What a filter graph is built for; another picture with the same geometry passes through it."""
    return picture.width, picture.height, picture.format.name, tuple(turns(picture))


def scaled(build: Callable[[Any], Any], pictures: Iterator[Any], steady: bool) -> Iterator[np.ndarray]:
    """Yield each picture (H, W, 3) uint8 RGB through the graph that `build` makes for its geometry.

    A video may change its geometry, as those of browsers do. Raises Unusable then if `steady`.
    """
    graph, known = None, None
    for picture in pictures:
        if (now := geometry(picture)) != known:
            if known is not None and steady:
                detail = f"{known[0]}x{known[1]}, then {now[0]}x{now[1]}"
                raise Unusable("changes the size of its pictures, so that face boxes fit some only", detail)
            graph, known = build(picture), now
        assert graph is not None
        graph.push(picture)
        yield graph.pull().to_ndarray(format="rgb24")


def cropped(library: Any, size: int, box: Box | None, aspect: float, picture: Any) -> Any:
    """A filter graph: square pixels, upright, cropped to the box or the centre, scaled by area averaging.

    `aspect` is the width of a pixel in its heights. Raises Unusable.
    """
    graph, steps, width, height = _upright(library, aspect, picture)
    side = min(width, height)
    if side < 2:
        raise Unusable("has pictures of one line", f"they are {width}x{height}")
    x, y, wide, high = box or ((width - side) // 2, (height - side) // 2, side, side)
    if x < 0 or y < 0 or wide < 2 or high < 2 or x + wide > width or y + high > height:
        raise Unusable("its face box is not within the picture", f"{box} of {width}x{height}")
    steps += [
        graph.add("crop", f"{wide}:{high}:{x}:{y}:exact=1"),
        graph.add("scale", f"{size}:{size}:flags=area"),
    ]
    return _closed(graph, steps)


def whole(library: Any, aspect: float, picture: Any) -> Any:
    """A filter graph: square pixels, upright."""
    graph, steps, *_ = _upright(library, aspect, picture)
    return _closed(graph, steps)


def _upright(library: Any, aspect: float, picture: Any) -> tuple[Any, list[Any], int, int]:
    """A filter graph with the steps for square pixels and upright pictures, and the size of these."""
    width, height = picture.width, picture.height
    graph, filters = library.filter.Graph(), turns(picture)
    steps = [graph.add_buffer(width=width, height=height, format=picture.format, time_base=picture.time_base)]
    if not 0.99 < aspect < 1.01:
        width = max(2, round(width * aspect))
        steps += [graph.add("scale", f"{width}:{height}"), graph.add("setsar", "1")]
    steps += [graph.add(name, arguments) if arguments else graph.add(name) for name, arguments in filters]
    is_swapped = ("transpose", TRANSPOSE) in filters
    return graph, steps, *((height, width) if is_swapped else (width, height))


def _closed(graph: Any, steps: list[Any]) -> Any:
    graph.link_nodes(*steps, graph.add("format", "rgb24"), graph.add("buffersink")).configure()
    return graph
