"""The checks of landmark files' content: cache, duplicates, scale, order of columns."""

from typing import Any

import numpy as np

from trainers.data import refusal_checks
from trainers.data.landmarks import ORDERS, Layout
from trainers.data.sign import reading
from trainers.data.sign.data import PACK_AGAIN, Data
from trainers.engine import health
from trainers.engine.check import on_data
from trainers.engine.health import Finding
from trainers.tasks import classifier_checks

SENTENCES = 64
"""Maximum number of sentences whose content the checks read again."""

FEWEST = 5
"""Minimum number of landmarks that vanish in the same frames to count as a hand or face."""

AGREEMENT = 0.5


def some_raw(data: Data) -> dict[str, np.ndarray]:
    """Raw columns (T, 1629) by id, of up to SENTENCES sentences spread evenly over all."""
    ids = [data.records[i].id for i in classifier_checks.spread(len(data.records), SENTENCES)]
    return {id: data.cache.raw(id) for id in ids}


def unchanged_cache(trainer: Any) -> list[Finding]:
    """The cached content has the SHA-256 that was stored when it was written."""
    fix = PACK_AGAIN if trainer.data.listing.packed is not None else ""
    return classifier_checks.changed_cache(trainer.data.cache.damaged(), "sentences", fix)


def duplicates(trainer: Any) -> list[Finding]:
    """No two ids have the same features."""
    records, rows = trainer.data.records, trainer.data.cache.rows
    digests = {record.id: rows[record.id].sha256 for record in records}
    return classifier_checks.duplicates(digests, {r.id: r.split for r in records}, "sentences", "ids")


def scale(trainer: Any) -> list[Finding]:
    """Coordinates are fractions of the picture, so none is far outside it."""
    largest = {id: float(np.abs(raw).max()) for id, raw in some_raw(trainer.data).items()}
    bad = [f"{id} ({top:.3g})" for id, top in largest.items() if top > reading.FARTHEST]
    if not bad:
        return []
    far = f"coordinates beyond {reading.FARTHEST:g}"
    message = f"{len(bad)} of {len(largest)} sentences hold {far}: {health.first(bad)}"
    fix = "take the landmarks as the detector gives them, not normalised and not in pixels"
    return [health.warning("feature.unit", message, fix)]


def layout(trainer: Any) -> list[Finding]:
    """Columns that vanish in the same frames, as those of a hand do, are whole groups of the layout."""
    data: Data = trainer.data
    declared, spans = data.listing.layout, _spans(data)
    findings = refusal_checks.refusals(data.listing, "schema.layout")
    if not spans:
        message = f"no landmark is missing in any frame, so the layout {declared.name} cannot be verified"
        findings.append(health.warning("schema.layout", message, "look at the extractor's order of columns"))
    wrong = [span for span in spans if not _starts_and_ends_groups(declared, span)]
    if wrong:
        columns = ", ".join(f"{3 * first}:{3 * end}" for first, end in wrong)
        message = (
            f"columns {columns} vanish in the same frames, but are not whole groups of {declared.name}: "
            + ", ".join(f"{name} {first}:{end}" for name, (first, end) in declared.groups.items())
        )
        fits = [n for n in ORDERS if all(_starts_and_ends_groups(Layout.named(n), span) for span in spans)]
        fix = f"set layout: {fits[0]}" if fits else "write a layout.json: group to [first, end]"
        findings.append(health.error("schema.layout", message, fix, "layout"))
    return findings + _masks(data)


def _spans(data: Data) -> list[tuple[int, int]]:
    presence = [reading.present(raw) for raw in some_raw(data).values()]
    return [(first, end) for first, end in reading.runs(presence) if end - first >= FEWEST]


def _starts_and_ends_groups(declared: Layout, span: tuple[int, int]) -> bool:
    edges = {edge // 3 for group in declared.groups.values() for edge in group}
    return edges >= set(span)


def _masks(data: Data) -> list[Finding]:
    agreements = {r.id: data.cache.rows[r.id].agreement for r in data.records}
    known = {id: value for id, value in agreements.items() if value is not None}
    bad = [f"{id} ({value:.0%})" for id, value in known.items() if value < AGREEMENT]
    if len(bad) <= 0.05 * len(known):
        return []
    message = f"{reading.MASKS} of {len(bad)} sentences contradict their landmarks: {health.first(bad)}"
    fix = "masks and columns have different orders: extract the landmarks again"
    return [health.error("schema.layout", message, fix)]


CHECKS = (
    on_data("cache", unchanged_cache),
    on_data("dups", duplicates),
    on_data("feature.unit", scale),
    on_data("schema.layout", layout),
)
