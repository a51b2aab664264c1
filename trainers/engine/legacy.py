"""What trainers that are not one class yet lack; goes away with the last of them."""

import math
from typing import Any


def preprocessing_of(trainer: Any) -> dict[str, Any]:
    """Of both kinds of trainers."""
    value = trainer.preprocessing
    return dict(value() if callable(value) else value)


class Legacy:
    """New names for an old task's members."""

    records: Any
    config: Any
    baseline_name = ""
    work: Any
    job_options: Any = ()

    @property
    def splits(self) -> Any:
        return self.records

    def sample(self, split: str, epoch: int, index: int) -> Any:
        return self.items(split)[epoch, index]  # type: ignore[attr-defined]

    def loss(self, model: Any, batch: Any) -> Any:
        return self.forward(model, batch)  # type: ignore[attr-defined]

    def proof(self, model: Any) -> Any:
        return None

    def rate_factors(self, model: Any) -> dict[str, float]:
        return {}

    def expected_first_loss(self, batch: Any) -> float:
        return math.log(len(self.classes))  # type: ignore[attr-defined]

    def lighter(self) -> Any:
        return self

    def without_regularisation(self) -> Any:
        if not hasattr(self.config, "label_smoothing"):
            return self
        return self.replace(label_smoothing=0.0)  # type: ignore[attr-defined]
