"""`prepare slowfast --ravdess DIR --crema DIR [--faces MODEL]` writes the manifest, and boxes of faces.

Standard library only, but for the faces.
"""

from collections.abc import Mapping
from pathlib import Path

from trainers.data import emotions
from trainers.engine.check import findings_of
from trainers.engine.events import Events
from trainers.engine.sources import BadSource
from trainers.slowfast import file_checks, manifest
from trainers.slowfast.config import Config


def run(sources: Mapping[str, Path], to: Path, seed: int, events: Events) -> dict[str, object]:
    """Write `to`/manifest.csv: every video found, with its split or the reason why it is excluded.

    With the source `faces`, also write faces.csv in each data folder; videos without a face are excluded.
    Returns the path, the codes of the file checks, their findings and the data report. Raises BadSource.
    """
    folders = {name: path for name, path in sources.items() if name in emotions.DATASETS}
    if not folders:
        raise BadSource("--ravdess or --crema is missing: a folder of videos")
    survey = file_checks.scan(folders, Config(seed=seed))
    facts: dict[str, object] = {}
    if "faces" in sources:
        from trainers.slowfast import find_faces  # noqa: PLC0415 - imports numpy

        def advance(done: int, total: int) -> None:
            events("progress", phase="prepare", step=done, of=total)

        survey, faces = find_faces.add(survey, folders, sources["faces"], advance)
        facts = {"faces": faces}
    findings = findings_of(file_checks.CHECKS, survey)
    manifest.write(to / manifest.NAME, survey, folders)
    events("progress", phase="prepare", step=survey.count, of=survey.count)
    return {
        "manifest": str(to / manifest.NAME),
        "checked": [check.code for check in file_checks.CHECKS],
        "findings": [finding.as_dict() for finding in findings],
        "data": survey.report(),
        **facts,
    }
