"""A folder of trainers without its trainer is reported by name."""

import pytest

from trainers import registry


def test_a_trainer_with_another_name_than_its_folder_is_reported(monkeypatch):
    monkeypatch.setattr(registry.trainer("blendshapes"), "name", "faces")
    with pytest.raises(
        registry.Unknown, match=r"trainers/blendshapes/trainer\.py has no subclass of Trainer"
    ):
        registry.trainer("blendshapes")
