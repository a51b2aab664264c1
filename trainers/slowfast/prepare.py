"""`prepare slowfast --ravdess DIR --crema DIR` writes the manifest. Standard library only."""

from collections.abc import Mapping
from pathlib import Path

from trainers.engine.check import findings_of
from trainers.engine.events import Events
from trainers.slowfast import file_checks, manifest
from trainers.slowfast.config import Config


def run(sources: Mapping[str, Path], to: Path, seed: int, events: Events) -> dict[str, object]:
    """Write `to`/manifest.csv: every video found, with its split or the reason why it is excluded.

    Returns the path, the codes of the file checks, their findings and the data report.
    """
    survey = file_checks.scan(sources, Config(seed=seed))
    findings = findings_of(file_checks.CHECKS, survey)
    manifest.write(to / manifest.NAME, survey, sources)
    events("progress", phase="prepare", step=survey.count, of=survey.count)
    return {
        "manifest": str(to / manifest.NAME),
        "checked": [check.code for check in file_checks.CHECKS],
        "findings": [finding.as_dict() for finding in findings],
        "data": survey.report(),
    }
