"""What is in front of an engine, in virtual time: one event loop, which lets requests in as the server's does."""

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

    def settle(self, delivered: Sequence[tuple[float, Action]], now: float) -> None:
        """The engine has answered those with these deadlines; each action is called when the answer is on its way to
        the client.
        """
        self._do(0.0, lambda _: self.queue.engine_has_answered(), now)
        for deadline, each in delivered:
            self.answer(deadline, each, now)

    def answer(self, deadline: float, delivered: Action, now: float) -> None:
        """There is an answer, or an error, of one whose request was read."""

        def done(at: float) -> None:
            self.queue.leave(deadline)
            self.delivery.add(at - now, at)
            delivered(at)

        if not self.costs.answer:
            self.queue.leave(deadline)
            delivered(now)
            return

        self._do(self.costs.answer / 2, done, now)

    def wait(self, deadline: float, now: float) -> float:
        """Seconds until a request that comes now would be read, as far as the loop knows."""
        return self.queue.ahead(deadline) * self.queue.each + max(self.busy_until - now, 0.0)

    def _welcome(self, arrived: Arrived, now: float) -> None:
        if (self._crowded or self.queue.anybody) and self.queue.refusal(arrived.deadline, arrived.model, now):
            self._waiting.appendleft((self.costs.refusal, arrived.refused))
            return
        self.queue.add(arrived.deadline, arrived)
        if not self._crowded:
            self._begin(self.queue.turn(now), now)

    def _turn(self, now: float) -> None:
        in_time = []
        for deadline, arrived in self.queue.turn(now):
            if self.queue.late(deadline, arrived.model, now):
                self.queue.not_read()
                self._waiting.append((self.costs.refusal, arrived.refused))
            else:
                in_time.append((deadline, arrived))
        self._begin(in_time, now)

    def _begin(self, turn: Sequence[tuple[float, Arrived]], now: float) -> None:
        for deadline, arrived in turn:
            self.queue.enter(deadline)
            self._waiting.append((self.costs.answer / 2, arrived.read))
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
