"""The two clients: the same calls, one of them for asyncio."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from anytime_client.conversation import (
    Events,
    Options,
    Prediction,
    Send,
    ServerError,
    Step,
    Unreachable,
    Wait,
    converse,
    explained,
    key_header,
    timeout,
)

URL = "http://127.0.0.1:8000"
Image = bytes | Path
Answer = Prediction | ServerError | Unreachable | OSError
"""An image of many: its prediction, or why there is none."""


class Client:
    """A pool of connections to one server; a context manager. May be shared by threads."""

    def __init__(
        self,
        url: str = URL,
        *,
        options: Options | None = None,
        api_key: str | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        """`options`: those of calls that give none. `http`: to send with, for its certificates, proxies and headers, to
        which the key is added.
        """
        self.url, self.options, self.http = url.rstrip("/"), options or Options(), http or httpx.Client()
        self.http.headers.update(key_header(api_key))

    def predict(self, image: Image, options: Options | None = None) -> Prediction:
        """Raises Refused, ServerError or Unreachable; OSError for a file that cannot be read."""
        exchange = converse(content(image), options or self.options, time.monotonic)
        step = next(exchange)
        while True:
            if isinstance(step, Wait):
                time.sleep(step.seconds)
                response = None
            else:
                response = self.post(step)
            try:
                step = exchange.send(response)
            except StopIteration as end:
                answer: Prediction = end.value
                return answer

    def post(self, step: Send) -> httpx.Response | httpx.RequestError:
        try:
            return self.http.post(self.url + step.path, params=step.query, content=step.content, timeout=step.timeout)
        except httpx.RequestError as error:
            return error

    def stream(self, image: Image, options: Options | None = None) -> Iterator[Step]:
        """A step at each exit that is reached, the last one with a reason; it may be of the same exit again.

        To leave the loop ends the work. Asked once, whatever `retries` says. Raises as `predict` does.
        """
        options = options or self.options
        query, events, limit = options.query(), Events(), timeout(options.budget)
        url = f"{self.url}/predict/stream"
        try:
            with self.http.stream("POST", url, params=query, content=content(image), timeout=limit) as response:
                if response.status_code != 200:
                    response.read()
                    raise explained(response)
                for line in response.iter_lines():
                    if step := events.step(line):
                        yield step
        except httpx.RequestError as error:
            raise explained(error) from error

    def predict_many(
        self, images: Iterable[Image], options: Options | None = None, concurrency: int = 8
    ) -> Generator[Answer, None, None]:
        """In the order of `images`, which are taken as they are needed, at most `concurrency` of them at once."""

        def answer(image: Image) -> Answer:
            try:
                return self.predict(image, options)
            except (ServerError, Unreachable, OSError) as error:
                return error

        asked: deque[Future[Answer]] = deque()
        with ThreadPoolExecutor(concurrency) as threads:
            for image in images:
                asked.append(threads.submit(answer, image))
                if len(asked) == concurrency:
                    yield asked.popleft().result()
            while asked:
                yield asked.popleft().result()

    def close(self) -> None:
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncClient:
    """The same for asyncio."""

    def __init__(
        self,
        url: str = URL,
        *,
        options: Options | None = None,
        api_key: str | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self.url, self.options, self.http = url.rstrip("/"), options or Options(), http or httpx.AsyncClient()
        self.http.headers.update(key_header(api_key))

    async def predict(self, image: Image, options: Options | None = None) -> Prediction:
        """Raises Refused, ServerError or Unreachable; OSError for a file that cannot be read."""
        exchange = converse(await asyncio.to_thread(content, image), options or self.options, time.monotonic)
        step = next(exchange)
        while True:
            if isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
                response = None
            else:
                response = await self.post(step)
            try:
                step = exchange.send(response)
            except StopIteration as end:
                answer: Prediction = end.value
                return answer

    async def post(self, step: Send) -> httpx.Response | httpx.RequestError:
        try:
            return await self.http.post(
                self.url + step.path, params=step.query, content=step.content, timeout=step.timeout
            )
        except httpx.RequestError as error:
            return error

    async def stream(self, image: Image, options: Options | None = None) -> AsyncIterator[Step]:
        """A step at each exit that is reached, the last one with a reason; it may be of the same exit again.

        To close the iterator ends the work.
        """
        options = options or self.options
        query, events, limit = options.query(), Events(), timeout(options.budget)
        url, body = f"{self.url}/predict/stream", await asyncio.to_thread(content, image)
        try:
            async with self.http.stream("POST", url, params=query, content=body, timeout=limit) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise explained(response)
                async for line in response.aiter_lines():
                    if step := events.step(line):
                        yield step
        except httpx.RequestError as error:
            raise explained(error) from error

    async def predict_many(
        self, images: Iterable[Image], options: Options | None = None, concurrency: int = 8
    ) -> AsyncGenerator[Answer, None]:
        """In the order of `images`, which are taken as they are needed, at most `concurrency` of them at once."""

        async def answer(image: Image) -> Answer:
            try:
                return await self.predict(image, options)
            except (ServerError, Unreachable, OSError) as error:
                return error

        asked: deque[asyncio.Task[Answer]] = deque()
        try:
            for image in images:
                asked.append(asyncio.create_task(answer(image)))
                if len(asked) == concurrency:
                    yield await asked.popleft()
            while asked:
                yield await asked.popleft()
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def close(self) -> None:
        await self.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


def content(image: Image) -> bytes:
    return image.read_bytes() if isinstance(image, Path) else image
