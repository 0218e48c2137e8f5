"""The files that models come from, and the way from a changed file to what is served."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from watchfiles import awatch

from service.backend import Entry
from service.errors import NotLoaded
from service.jobs import ModelId
from service.memory import give_back
from service.metrics import Metrics
from service.model import Model
from service.registry import Models
from service.variants import Source, Stamp, Variant

logger = logging.getLogger("uvicorn.error")


class Repository:
    """Serves what is in the files: one change at a time, a new version before an old one goes, and what cannot be
    served leaves alone what is.

    `open_model`: a variant's stages and all that belongs to them; called on a thread of its own. `warm`: makes it ready
    for its first request.
    """

    def __init__(
        self,
        source: Source,
        models: Models,
        metrics: Metrics,
        seen: list[Stamp],
        open_model: Callable[[Variant], Model],
        warm: Callable[[Model], Awaitable[None]],
    ) -> None:
        """`seen`: the files when `models` were read from them."""
        self.source = source
        self.models = models
        self.metrics = metrics
        self.problems: dict[Path, str] = {}
        """Why files cannot be served."""
        self.failed: dict[str, str] = {}
        """The same by model, for those whose files were in order."""
        self._open_model = open_model
        self._warm = warm
        self._changing = asyncio.Lock()
        self._unloaded: set[str] = set()
        self._coming: set[ModelId] = set()
        self._going: dict[ModelId, Future[None]] = {}
        self._seen = seen

    async def start(self) -> None:
        """Warm up what is served from the start on."""
        for model in self.models:
            await self._warm(model)
            self._announce(model)

    async def watch(self) -> None:
        """Look at the files whenever one changes, and every few seconds, as not all file systems tell of changes; until
        cancelled.
        """
        folder = self.source.path if self.source.path.is_dir() else self.source.path.parent
        try:
            async for _ in awatch(folder, recursive=False, yield_on_timeout=True):
                await self.look(only_if_changed=True)
        except (OSError, RuntimeError) as error:
            logger.warning("%s is not watched: %s", folder, error)

    async def look(self, only_if_changed: bool = False) -> None:
        """As `refresh`; what goes wrong is logged. `only_if_changed`: unless no file has another stamp."""
        try:
            if not only_if_changed or self.source.stamps() != self._seen:
                await self.refresh()
        except Exception:
            logger.exception("%s could not be looked at", self.source.path)

    async def refresh(self, load: str | None = None) -> None:
        """Look at the files, and serve what they hold now, but for models that were unloaded. `load`: this one, too."""
        async with self._changing:
            await self._refresh(load)
            self._give_back()  # what was read

    async def _refresh(self, load: str | None) -> None:
        self._seen = self.source.stamps()
        found, problems = await asyncio.to_thread(self.source.scan)
        self._unloaded.discard(load or "")
        if not problems:
            self._unloaded &= {each.metadata.name for each in found}
        wanted = {each.metadata.id: each for each in found if each.metadata.name not in self._unloaded}
        served = {model.id: model for model in self.models}
        self.failed = {}
        for id_, variant in wanted.items():
            if id_ in served:
                served[id_].path, served[id_].variants = variant.path, variant.variants
                continue
            try:
                await self._serve(variant)
            except Exception as error:
                problem = f"{variant.path.name}: {str(error).partition(chr(10))[0]}"
                self.failed[id_.name] = problems[variant.path] = problem
                error.__traceback__ = None  # its frames hold what was opened
        for id_, model in served.items():
            kept = {model.path, self.source.path} & problems.keys() or id_.name in self.failed
            if id_ not in wanted and not kept:
                self._retire(model)
        self._report(problems)

    async def load(self, name: str) -> None:
        """Serve a model as its files are now, also one that was unloaded. Raises NotLoaded."""
        await self.refresh(load=name)
        served = [model for model in self.models if model.id.name == name]
        paths = [self.source.path, *(model.path for model in served)]
        broken = [self.failed.get(name), *(self.problems.get(path) for path in paths)]
        if served and any(broken):
            raise NotLoaded(f"{next(filter(None, broken))}; what was served of {name!r} before still is")
        if not served:
            others = "".join(f"; {problem}" for problem in self.problems.values())
            raise NotLoaded(f"no file that can be served is of a model {name!r}{others}")

    async def unload(self, name: str) -> None:
        """Let all versions go, once those who use them are answered, until `load`. Raises UnknownModel."""
        async with self._changing:
            if name not in self._unloaded:
                self.models.get(name)
            self._unloaded.add(name)
            for model in self.models:
                if model.id.name == name:
                    self._retire(model)

    async def index(self) -> list[Entry]:
        """All that there is, served or not. A broken file goes by its own name."""
        return list(self._entries())

    def _entries(self) -> Iterator[Entry]:
        for model in self.models:
            yield Entry(*model.id, "READY")
        for id_ in self._coming:
            yield Entry(*id_, "LOADING")
        for id_, gone in self._going.items():
            if not gone.done():
                yield Entry(*id_, "UNLOADING")
        for name in sorted(self._unloaded):
            yield Entry(name, "", "UNAVAILABLE", "unloaded on request")
        for path, problem in self.problems.items():
            yield Entry(path.stem, "", "UNAVAILABLE", problem)

    async def _serve(self, variant: Variant) -> None:
        id_ = variant.metadata.id
        self._coming.add(id_)
        try:
            if going := self._going.get(id_):
                await asyncio.wrap_future(going)
            model = await asyncio.to_thread(self._open_model, variant)
            try:
                await self._warm(model)
            except BaseException:
                self._let_go(model)
                raise
        finally:
            self._coming.discard(id_)
        self.models.add(model)
        self._announce(model)

    def _announce(self, model: Model) -> None:
        model.metrics.serve()
        logger.info("serving %s", model)

    def _retire(self, model: Model) -> None:
        self.models.remove(model)
        self._going = {id_: gone for id_, gone in self._going.items() if not gone.done()}
        self._let_go(model)
        logger.info("no longer serving %s", model)

    def _let_go(self, model: Model) -> None:
        """Its memory goes back once it is gone."""
        loop = asyncio.get_running_loop()
        self._going[model.id] = gone = model.retire()

        def give_back_on_loop(_: Future[None]) -> None:
            with suppress(RuntimeError):  # the server has ended meanwhile
                loop.call_soon_threadsafe(self._give_back)

        gone.add_done_callback(give_back_on_loop)

    def _give_back(self) -> None:
        """On a thread beside, as it takes milliseconds."""
        asyncio.get_running_loop().run_in_executor(None, give_back)

    def _report(self, problems: dict[Path, str]) -> None:
        for path, problem in problems.items():
            if self.problems.get(path) != problem:
                logger.error("%s; what was served before still is", problem)
        self.problems = problems
        self.metrics.observe_problems(path.name for path in problems)
