"""Notices what has stopped moving."""


class Stillness:
    """Of something that is looked at every so often, and should move in between.

    It counts looks, not seconds: while the whole machine stands still, nobody looks.
    """

    def __init__(self) -> None:
        self._place: int | None = None
        self._looks = 0

    def looks(self, place: int | None) -> int:
        """How many looks in a row, beside the first, have found it at this `place`. None: it rests, as it may."""
        self._looks = 0 if place is None or place != self._place else self._looks + 1
        self._place = place
        return self._looks
