"""Who may ask, how often, and how much at a time."""

import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, Field

from service.errors import RateLimited, TooManyAtOnce, Unauthorized
from service.rates import take

NAMED = re.compile(r"([\w.@-]{1,64}):([!-+\-.-~]+)")
GUESS = 0.1
"""Seconds that a request of a key takes as long as none has come to its end."""


class KeyLimits(BaseModel, frozen=True, extra="forbid"):
    """`rate`: requests per second; `burst`: how many may come at once, by default a second's; `concurrency`: how many
    are answered at a time. None for no limit.
    """

    rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    burst: int | None = Field(None, ge=1)
    concurrency: int | None = Field(None, ge=1)

    @property
    def tokens(self) -> int:
        return self.burst or max(1, math.ceil(self.rate or 1))


@dataclass(frozen=True)
class ApiKey:
    """`name` may be told, `secret` not."""

    name: str
    secret: bytes
    limits: KeyLimits


class Taken(Protocol):
    """What is taken of the limits of a key. `full`: when its bucket will be, see `take`."""

    full: float

    @property
    def inside(self) -> int:
        """Requests that have entered, and not yet left."""
        ...

    def enter(self) -> None: ...

    def leave(self) -> None: ...


@dataclass
class OwnTaken:
    """Of a server of one process."""

    full: float = 0.0
    inside: int = 0

    def enter(self) -> None:
        self.inside += 1

    def leave(self) -> None:
        self.inside -= 1


class Holder:
    """Whoever has a key, and what they have taken of its limits."""

    def __init__(self, name: str, limits: KeyLimits, digest: bytes, taken: Taken) -> None:
        self.name = name
        self.limits = limits
        self.digest = digest
        self.taken = taken
        self.lately = GUESS

    def come(self, now: float) -> None:
        """Raises RateLimited or TooManyAtOnce."""
        rate, most, taken = self.limits.rate, self.limits.concurrency, self.taken
        if most is not None and taken.inside >= most:
            told = f"{most} requests of the key {self.name!r} are being answered, as many as it may have at a time"
            raise TooManyAtOnce(told, retry_after=self.lately)
        if rate is not None:
            taken.full, wait = take(taken.full, rate, self.limits.tokens, now)
            if wait:
                told = f"the key {self.name!r} may send {rate:g} requests a second, {self.limits.tokens} at once"
                raise RateLimited(told, retry_after=wait)
        taken.enter()


class Pass:
    """One request of a holder, from when it is let in until `leave`."""

    __slots__ = ("_clock", "_holder", "_left", "_since")

    def __init__(self, holder: Holder, clock: Callable[[], float], now: float) -> None:
        self._holder, self._clock, self._since = holder, clock, now
        self._left = False

    @property
    def name(self) -> str:
        return self._holder.name

    def leave(self) -> None:
        """Once is enough."""
        if not self._left:
            self._left = True
            self._holder.taken.leave()
            self._holder.lately = self._clock() - self._since


class Gate:
    """Lets those in who have a key, as often as its limits allow.

    How long it takes depends neither on the keys nor on how many there are: what is sent is hashed under a secret of
    this process, so that nobody can choose what is looked up.
    """

    def __init__(
        self,
        keys: Iterable[ApiKey],
        clock: Callable[[], float],
        taken: Callable[[ApiKey], Taken] = lambda _: OwnTaken(),
    ) -> None:
        """`taken`: where it stands for a key that is new."""
        self._clock = clock
        self._taken = taken
        self._secret = secrets.token_bytes(32)
        self._nobody = Holder("", KeyLimits(), secrets.token_bytes(32), OwnTaken())
        self._holders: dict[bytes, Holder] = {}
        self.change(keys)

    def change(self, keys: Iterable[ApiKey]) -> None:
        """From now on these keys hold; one that was there before goes on with what it has taken of its limits."""
        before, self._holders = self._holders, {}
        for key in keys:
            digest = self._digest(key.secret)
            holder = before.get(digest) or Holder(key.name, key.limits, digest, self._taken(key))
            holder.name, holder.limits = key.name, key.limits
            self._holders[digest] = holder

    def holder(self, key: bytes | None) -> Holder:
        """Raises Unauthorized."""
        if key is None:
            raise Unauthorized("an API key is needed: send it as X-API-Key, or as Authorization: Bearer")
        digest = self._digest(key)
        holder = self._holders.get(digest, self._nobody)
        if not hmac.compare_digest(digest, holder.digest):
            raise Unauthorized("the API key is not one of those that are known here")
        return holder

    def enter(self, key: bytes | None) -> Pass:
        """Raises Unauthorized, RateLimited or TooManyAtOnce."""
        holder, now = self.holder(key), self._clock()
        holder.come(now)
        return Pass(holder, self._clock, now)

    def _digest(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, key=self._secret, digest_size=32).digest()


@dataclass(frozen=True)
class KeySource:
    """Where keys are told: `listed` in the environment, separated by commas, and in a file, one a line.

    Errors name places, never what stands there.
    """

    listed: str
    path: Path | None
    limits: KeyLimits

    def read(self) -> list[ApiKey]:
        """Raises ValueError, or OSError for the file."""
        keys = [*self._listed(), *self._in_file()]
        for what, values in (("name", [key.name for key in keys]), ("key", [key.secret for key in keys])):
            if len(set(values)) < len(values):
                raise ValueError(f"a {what} stands twice among the API keys")
        if not keys:
            raise ValueError(f"{self.path or 'ANYTIME_API_KEY'}: no API key stands there")
        return keys

    def _listed(self) -> Iterator[ApiKey]:
        for number, told in enumerate(filter(None, self.listed.split(",")), start=1):
            named = told.strip() if ":" in told else f"key-{number}:{told.strip()}"
            yield key_of(named, self.limits, f"ANYTIME_API_KEY, key {number}")

    def _in_file(self) -> Iterator[ApiKey]:
        lines = [] if self.path is None else self.path.read_text("utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.lstrip().startswith("#"):
                yield key_of(line, self.limits, f"{self.path}, line {number}")


def key_of(told: str, limits: KeyLimits, place: str) -> ApiKey:
    """`name:key`, and behind it limits of its own: `rate=10 burst=20 concurrency=4`. Raises ValueError."""
    first, *own = told.split() or [""]
    try:
        name, key = NAMED.fullmatch(first).groups()  # type: ignore[union-attr]
        given = dict(limit.split("=") for limit in own)
        return ApiKey(name, key.encode(), KeyLimits.model_validate({**limits.model_dump(), **given}))
    except (AttributeError, ValueError):
        raise ValueError(
            f"{place}: a key is written as name:key, in visible ASCII without commas, and behind it may stand "
            "rate=10 burst=20 concurrency=4"
        ) from None
