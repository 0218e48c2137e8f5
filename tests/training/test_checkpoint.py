"""Runs of earlier versions."""

import pytest

from training.checkpoint import known
from training.config import TrainConfig


@pytest.mark.parametrize(("before", "now"), [(True, "random"), (False, "none"), ("alternating", "alternating")])
def test_settings_of_earlier_versions_are_read_as_they_were_meant(before: object, now: str) -> None:
    config = TrainConfig(recipe="fashion-mnist-cpu", flip=now, crop_padding=3)
    old = {**config.model_dump(mode="json"), "flip": before, "augment_together": 8}
    assert TrainConfig(**known(old)) == config
