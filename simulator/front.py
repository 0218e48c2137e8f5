"""What is in front of an engine, in virtual time: one event loop, which lets requests in as the server's does."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from service.admission import FrontAdmission, Timed
from service.times import RecentQuantile
from simulator.calendar import Action, Calendar


@dataclass(frozen=True)
class FrontCosts:
    """Seconds of the event loop: of a request that is answered, half of them before the engine has it and half after,
    and of one that is refused unread.
    """

    answer: float = 0.0
    refusal: float = 0.0


NOTHING = FrontCosts()


@dataclass(slots=True)
class Arrived:
    """A request that is not read yet. `read`: the engine may have it. `refused`: it will not be read."""

    deadline: float
    model: Timed | None
    read: Action
    refused: Action


class Front:
    """One thing at a time, first come, first served, but for requests, which `service.admission` puts in order.

    `delivery`: where it is noted how long answers wait for the loop, as the server does.
    """

    def __init__(self, costs: FrontCosts, calendar: Calendar, delivery: RecentQuantile, max_queue: int) -> None:
        self.costs = costs
        self.calendar = calendar
        self.delivery = delivery
        self.queue = FrontAdmission[Arrived](delivery, max_queue)
        self.busy_until = 0.0
        self._crowded = False
        self._waiting: deque[tuple[float, Action]] = deque()
        self._at_work: Action | None = None

    def arrive(self, arrived: Arrived, now: float) -> None:
        self._do(0.0, lambda now: self._welcome(arrived, now), now)

    def settle(self, delivered: Sequence[Action], now: float) -> None:
        """The engine has answered; each is called when its answer is on its way to the client."""
        self._do(0.0, lambda _: self.queue.engine_has_answered(), now)
        for each in delivered:
            self.answer(each, now)

    def answer(self, delivered: Action, now: float) -> None:
        """There is an answer, or an error, of one whose request was read."""
        if not self.costs.answer:
            delivered(now)
            return

        def done(at: float) -> None:
            self.delivery.add(at - now, at)
            delivered(at)

        self._do(self.costs.answer / 2, done, now)

    def wait(self, deadline: float, now: float) -> float:
        """Seconds until a request that comes now would be read, as far as the loop knows."""
        return self.queue.ahead(deadline) * self.queue.each + max(self.busy_until - now, 0.0)

    def _welcome(self, arrived: Arrived, now: float) -> None:
        if not self._crowded:
            self.queue.add(math.inf, arrived)
            self._begin(self.queue.turn(now), now)
        elif self.queue.refusal(arrived.deadline, arrived.model, now) is None:
            self.queue.add(arrived.deadline, arrived)
        else:
            self._waiting.appendleft((self.costs.refusal, arrived.refused))

    def _turn(self, now: float) -> None:
        in_time = []
        for deadline, arrived in self.queue.turn(now):
            if self.queue.late(deadline, arrived.model, now):
                self._waiting.append((self.costs.refusal, arrived.refused))
            else:
                in_time.append((deadline, arrived))
        self._begin(in_time, now)

    def _begin(self, turn: Sequence[tuple[float, Arrived]], now: float) -> None:
        self._waiting.extend((self.costs.answer / 2, arrived.read) for _, arrived in turn)
        self._crowded = bool(turn) or len(self.queue) > 0
        if self._crowded:
            self._waiting.append((0.0, self._turn))

    def _do(self, seconds: float, action: Action, now: float) -> None:
        self._waiting.append((seconds, action))
        if self._at_work is None:
            self._work(now)

    def _work(self, now: float) -> None:
        """What waits; `action` is what comes of it, when it is done."""
        while self._waiting:
            seconds, action = self._waiting.popleft()
            self._at_work = action
            if seconds > 0:
                self.busy_until = now + seconds
                self.calendar.at(self.busy_until, self._done)
                return
            action(now)
        self._at_work = None

    def _done(self, now: float) -> None:
        assert self._at_work is not None
        self._at_work(now)
        self._work(now)
