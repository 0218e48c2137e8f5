"""Notices what has stopped moving."""


class Stillness:
    """Of something that is looked at every so often, and should move in between.

    It counts looks, not seconds: while the whole machine stands still, nobody looks.
    """

    def __init__(self, most: int) -> None:
        """`most`: looks in a row that may find it in one place after the first that did."""
        self._most = most
        self._place: int | None = None
        self._looks = 0

    def lasts(self, place: int | None) -> bool:
        """A look finds it at this `place`, for too long. None: it rests, as it may."""
        self._looks = self._looks + 1 if place == self._place else 0
        self._place = place
        return place is not None and self._looks >= self._most
