"""The offline replay against the engine itself, on invented logits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.calibration import Calibration
from service.engine import Engine, Network
from service.jobs import Job
from service.replay import replay
from service.scheduler import Scheduler
from service.times import StageTimes, batch_sizes
from tests.service.recorded import MODEL, InMemory, Reply

EXITS, CLASSES, IMAGES = 4, 3, 12


@dataclass
class Recorded(InMemory):
    """Stages that look up what an image, which holds its number, was recorded with."""

    logits: NDArray[np.float32]

    def run(self, stage: int, features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        numbers = features[:, 0, 0, 0].astype(int)
        return self.logits[stage - 1, numbers], features if stage < EXITS else None


@settings(deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.lists(st.floats(0, 1), min_size=EXITS - 1, max_size=EXITS - 1))
def test_the_engine_answers_in_batches_what_the_replay_says(seed: int, ensemble: bool, thresholds: list[float]) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(EXITS, IMAGES, CLASSES)).astype(np.float32) * 3
    weights = random.uniform(0.5, 2, EXITS).tolist() if ensemble else None
    calibration = Calibration(random.uniform(0.5, 2, EXITS).tolist(), weights)
    outcomes: list[tuple[Job, Any]] = []
    times = StageTimes(EXITS, batch_sizes(IMAGES))
    for stage in range(1, EXITS + 1):
        times.set_idle(stage, [0.0 for _ in times.sizes])
    scheduler = Scheduler(times, {}, max_queue=2 * IMAGES)  # so that nobody presses
    engine = Engine({MODEL: Network(Recorded(logits), scheduler, calibration)}, lambda: 0.0, outcomes.extend)
    jobs = [
        Job(MODEL, np.full((1, 1, 1), number, np.float32), float("inf"), thresholds, EXITS, Reply())
        for number in range(IMAGES)
    ]
    for job in jobs:
        engine.submit(job)
    engine.close()
    engine.run()

    expected = replay(logits, calibration, thresholds)
    for job, outcome in outcomes:
        number = jobs.index(job)
        assert outcome.exit == expected.exits[number] == len(job.confidences)
        assert outcome.probabilities.argmax() == expected.classes[number]
        assert job.confidences[-1] == pytest.approx(float(expected.confidences[number]), rel=1e-5)
    assert len(outcomes) == IMAGES


def test_a_budget_stops_before_the_stage_that_would_exceed_it() -> None:
    logits = np.zeros((3, 2, 2), np.float32)
    logits[0, 0, 1] = 10  # the first image is sure at once
    seconds = [1.0, 2.0, 4.0]
    for budget, exit_ in ((0.5, 1), (2.9, 1), (3.0, 2), (6.9, 2), (7.0, 3)):
        answered = replay(logits, Calibration([1.0] * 3), [0.9, 0.9], seconds, budget)
        assert answered.exits.tolist() == [1, exit_]
        assert answered.classes[0] == 1
