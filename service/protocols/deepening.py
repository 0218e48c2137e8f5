"""An answer that deepens: each exit as it is reached, while time and load allow."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from service.jobs import Outcome
from service.model import Model, Terms
from service.protocols.account import note
from service.protocols.front import Front
from service.replies import EveryOutcome
from service.runtime.interface import Tensor

NEVER = 2.0
"""A threshold that no confidence reaches."""


@dataclass(frozen=True, slots=True)
class Reached:
    """An exit that was reached, `at` a time. `would_answer`: a request for one answer would have stopped here.
    `told_before`: the step before was of this exit, too.
    """

    outcome: Outcome
    at: float
    would_answer: bool
    told_before: bool

    @property
    def final(self) -> bool:
        return self.outcome.reason is not None


class Deepening:
    """The steps of one image, to iterate over; the last one is final. Raises RequestError where it is refused, and then
    instead of a step. `end`, in any case, says that nobody listens any more. `stop_early`: go no deeper than one answer
    would.
    """

    def __init__(self, front: Front, model: Model, image: Tensor, terms: Terms, stop_early: bool = False) -> None:
        self.terms, self.clock, self.model = terms, front.clock, model
        run = terms
        if not stop_early:
            run = replace(terms, operating_point=None, thresholds=(NEVER,) * len(terms.thresholds))
        # A slow reader must not be taken for a slow server: what is counted is counted when it comes.
        self.reply = EveryOutcome(lambda outcome: model.answered(outcome, run, front.clock()))
        (self.job,) = front.submit(model, [image], run, [self.reply])

    async def begun(self) -> None:
        """There is a step. Raises RequestError where none will be."""
        await self.reply.begun()

    async def __aiter__(self) -> AsyncIterator[Reached]:
        waiting, told = True, 0  # for an exit where one answer would stop; the deepest one told of
        async for outcome in self.reply:
            final = outcome.reason is not None
            sure = final or outcome.confidences[-1] >= self.terms.thresholds[outcome.exit - 1]
            if final:
                note(outcome, self.terms)
            yield Reached(outcome, self.clock(), waiting and sure, outcome.exit == told)
            waiting, told = waiting and not sure, outcome.exit

    def end(self) -> None:
        self.reply.close()
        self.model.abort(self.job)
