"""`python -m training` in float64: what differs after many steps then differs by more than rounding."""

import runpy
from typing import Any

from training import augmentation, data, network

build, augment, inputs = network.build, augmentation.Augmentation.__call__, data.Splits.inputs
splits: Any = data.Splits
augmented: Any = augmentation.Augmentation
network.build = lambda *arguments: build(*arguments).double()
augmented.__call__ = lambda *arguments: augment(*arguments).double()
splits.inputs = lambda *arguments, **named: (batch.double() for batch in inputs(*arguments, **named))
runpy.run_module("training", run_name="__main__", alter_sys=True)
