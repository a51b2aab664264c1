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
from trainers.tasks.sign import inputs

SENTENCES = 64
"""Maximum number of sentences whose content the checks read again."""

AGREEMENT = 0.5

MISSING = 0.1
"""Fraction of sentences that may lack a whole group of landmarks, such as a hand that is not used."""


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
    declared = data.listing.layout
    presence = [reading.present(raw) for raw in some_raw(data).values()]
    wrong, known = reading.misplaced(presence, declared)
    findings = refusal_checks.refusals(data.listing, "schema.layout")
    if not known:
        message = f"no landmark is missing in any frame, so the layout {declared.name} cannot be verified"
        findings.append(health.warning("schema.layout", message, "look at the extractor's order of columns"))
    if wrong:
        message = inputs.misplaced(wrong, declared)
        fits = [n for n in ORDERS if not reading.misplaced(presence, Layout.named(n))[0]]
        fix = f"set layout: {fits[0]}" if fits else "write a layout.json: group to [first, end]"
        findings.append(health.error("schema.layout", message, fix, "layout"))
    return findings + _masks(data)


def missing(trainer: Any) -> list[Finding]:
    """In most sentences pose, face and both hands are detected in some frame."""
    layout = trainer.data.listing.layout
    absent = {id: reading.missing_groups(raw, layout) for id, raw in some_raw(trainer.data).items()}
    bad = [f"{id} ({', '.join(groups)})" for id, groups in absent.items() if groups]
    if len(bad) <= MISSING * len(absent):
        return []
    message = f"{len(bad)} of {len(absent)} sentences lack a whole group of landmarks: {health.first(bad)}"
    fix = "look at the detector's settings: it finds no hand or face where one is to be seen"
    return [health.warning("feature.missing", message, fix)]


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
    on_data("feature.missing", missing),
)
