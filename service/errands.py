"""Work for the engine's thread beside its batches, such as the warm-up of a model while others are served."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future

PAUSE = 3.0
"""While somebody waits for a batch, so many times as long as a piece took goes by before the next one."""


class Errands:
    """Done in turn, piece by piece. Each is an iterator that yields before a piece how many seconds that should take.

    Not safe for threads, but for the thread that runs a piece while others add.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pending: deque[tuple[Iterator[float], Future[None]]] = deque()
        self._not_before = 0.0
        self.expected = 0.0
        """Seconds that the next piece should take; 0 where that is not known."""

    def __bool__(self) -> bool:
        return bool(self._pending)

    def add(self, pieces: Iterator[float]) -> Future[None]:
        """The future tells that they are done, or how they failed."""
        done = Future[None]()
        done.set_running_or_notify_cancel()  # who waits may give up, the work goes on
        self._pending.append((pieces, done))
        return done

    def due(self, now: float, *, nobody_waits: bool) -> bool:
        return bool(self._pending) and (nobody_waits or now > self._not_before)

    def run(self) -> None:
        """One piece."""
        pieces, done = self._pending[0]
        start = self._clock()
        try:
            self.expected = next(pieces)
        except StopIteration:
            self._finish(done, None)
        except Exception as error:
            self._finish(done, error)
        end = self._clock()
        self._not_before = end + (end - start) * PAUSE
        del pieces, done  # an error keeps this frame

    def give_up(self, reason: Exception) -> None:
        """All that are left."""
        while self._pending:
            _, done = self._pending.popleft()
            done.set_exception(reason)

    def _finish(self, done: Future[None], error: Exception | None) -> None:
        self.expected = 0.0
        if not self._pending or self._pending[0][1] is not done:
            return  # it was given up meanwhile
        self._pending.popleft()
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
