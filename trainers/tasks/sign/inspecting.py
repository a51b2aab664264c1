"""What `check` asks of the content of the feature files."""

from collections import defaultdict

import numpy as np

from trainers.data.landmarks import ORDERS, Layout
from trainers.data.sign import reading
from trainers.data.sign.data import PACK_AGAIN, Data
from trainers.engine import health
from trainers.engine.health import Finding

CODES = ("schema.keys", "cache", "dups", "feature.unit", "ctc.length")

LOOKED_AT = 64
"""Sentences whose content is looked at once more."""

FEWEST = 5
"""Landmarks that come and go together, to be taken for a hand or a face."""

AGREEMENT, FARTHEST = 0.5, 10.0


def content(held: Data) -> list[Finding]:
    """All of it."""
    return whole(held) + duplicates(held) + unit(held) + layout(held)


def some_raw(held: Data) -> dict[str, np.ndarray]:
    """Raw columns of sentences spread evenly over all."""
    size = len(held.records)
    places = sorted({int(i) for i in np.linspace(0, size - 1, min(size, LOOKED_AT))})
    return {held.records[i].id: held.cache.raw(held.records[i].id) for i in places}


def whole(held: Data) -> list[Finding]:
    """The cache holds what was written into it."""
    bad = held.cache.damaged()
    if not bad:
        return []
    shards = health.first(sorted({str(path) for path in bad.values()}))
    seen = f"{len(bad)} sentences of {shards} changed: {health.first(list(bad))}"
    fix = f"remove {shards}; it is built again" if held.listing.packed is None else PACK_AGAIN
    return [health.error("cache", seen, fix)]


def duplicates(held: Data) -> list[Finding]:
    """The same features under two ids: across splits a leak, within one a doubt."""
    groups: dict[str, list[str]] = defaultdict(list)
    home = {record.id: record.split for record in held.records}
    for record in held.records:
        groups[held.cache.rows[record.id].sha256].append(record.id)
    doubles = [ids for ids in groups.values() if len(ids) > 1]
    across = [ids for ids in doubles if len({home[id] for id in ids}) > 1]
    for some, severity in ((across, "error"), (doubles, "warning")):
        if some:
            where = "stand in two splits" if some is across else "have two ids"
            seen = f"{len(some)} sentences {where}: {health.first([' = '.join(ids) for ids in some])}"
            return [health.Finding("dups", severity, seen, "keep one of each")]
    return []


def unit(held: Data) -> list[Finding]:
    """Landmarks are shares of the picture: they stay near it."""
    far = {id: float(np.abs(raw).max()) for id, raw in some_raw(held).items()}
    bad = [f"{id} ({top:.3g})" for id, top in far.items() if top > FARTHEST]
    if not bad:
        return []
    seen = f"{len(bad)} of {len(far)} sentences hold coordinates beyond {FARTHEST:g}: {health.first(bad)}"
    fix = "take the landmarks as the detector gives them, not normalised and not in pixels"
    return [health.warning("feature.unit", seen, fix)]


def layout(held: Data) -> list[Finding]:
    """Hands vanish as a whole: where columns come and go together, the layout must have whole groups."""
    told = held.listing.layout
    spans = _spans(held)
    found = []
    if not spans:
        seen = f"no landmarks ever vanish, so the layout {told.name} cannot be verified"
        found.append(health.warning("schema.layout", seen, "look at the extractor's order of columns"))
    wrong = [span for span in spans if not _whole_groups(told, span)]
    if wrong:
        where = ", ".join(f"{3 * first}:{3 * end}" for first, end in wrong)
        seen = (
            f"columns {where} come and go together, which are no whole groups of {told.name}: {_words(told)}"
        )
        fits = [n for n in ORDERS if all(_whole_groups(Layout.named(n), span) for span in spans)]
        fix = f"set layout: {fits[0]}" if fits else "write a layout.json: group to [first, end]"
        found.append(health.error("schema.layout", seen, fix, "layout"))
    return found + _masks(held)


def _spans(held: Data) -> list[tuple[int, int]]:
    there = [reading.present(raw) for raw in some_raw(held).values()]
    return [(first, end) for first, end in reading.runs(there) if end - first >= FEWEST]


def _whole_groups(told: Layout, span: tuple[int, int]) -> bool:
    edges = {edge // 3 for group in told.groups.values() for edge in group}
    return edges >= set(span)


def _words(told: Layout) -> str:
    return ", ".join(f"{name} {first}:{end}" for name, (first, end) in told.groups.items())


def _masks(held: Data) -> list[Finding]:
    rows = held.cache.rows
    agreements = {
        record.id: value for record in held.records if (value := rows[record.id].agreement) is not None
    }
    bad = [f"{id} ({value:.0%})" for id, value in agreements.items() if value < AGREEMENT]
    if len(bad) <= 0.05 * len(agreements):
        return []
    seen = f"{reading.MASKS} of {len(bad)} sentences do not say where the landmarks are: {health.first(bad)}"
    return [health.error("schema.layout", seen, "masks and columns are of different orders: extract anew")]
