"""Progress on a terminal: all that takes over two seconds says how far it is. Elsewhere nothing is said."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

from tqdm import tqdm

from training.devices import leads

Item = TypeVar("Item")


def bar(items: Iterable[Item], title: str, total: int | None = None, initial: int = 0) -> Iterable[Item]:
    """The items, with a bar on standard error while they are gone through. `total`: where they do not know it."""
    hidden = None if leads() else True  # tqdm itself hides where there is no terminal
    return cast(Iterable[Item], tqdm(items, title, total, leave=False, initial=initial, disable=hidden))


@contextmanager
def doing(title: str) -> Iterator[None]:
    """A line for a piece of work that does not say how far it is."""
    with tqdm(desc=title, bar_format="{desc} …", leave=False, disable=None if leads() else True):
        yield
