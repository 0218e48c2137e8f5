"""What is served: name → versions → model."""

from collections.abc import Callable, Iterable, Iterator

from service.errors import UnknownModel
from service.model import Model


class Models:
    """The newest version of a name is the one that answers, unless another one is asked for."""

    def __init__(
        self,
        models: Iterable[Model],
        default: str | None = None,
        on_removal: Callable[[Model], None] = lambda _: None,
    ) -> None:
        """`default`: the name for requests that give none."""
        self._on_removal = on_removal
        self._versions: dict[str, dict[str, Model]] = {}
        self._named_default = self.default = default
        for model in models:
            self.add(model)

    def check_default(self) -> None:
        """Raises ValueError where the name for requests that give none is not served."""
        if self._named_default is not None and self._named_default not in self._versions:
            raise ValueError(f"default_model {self._named_default!r} is not served; {self._listed}")

    def __iter__(self) -> Iterator[Model]:
        """All versions of all models, as they are now."""
        return iter([model for versions in self._versions.values() for model in versions.values()])

    def add(self, model: Model) -> None:
        versions = [*self._versions.get(model.id.name, {}).values(), model]
        versions.sort(key=lambda each: each.metadata.date)
        self._versions[model.id.name] = {each.id.version: each for each in versions}
        self._choose_default()

    def remove(self, model: Model) -> None:
        versions = self._versions[model.id.name]
        del versions[model.id.version]
        if not versions:
            del self._versions[model.id.name]
        self._choose_default()
        self._on_removal(model)

    def _choose_default(self) -> None:
        """A single model needs none to be named. Every request asks, so it is known."""
        if self._named_default is None:
            self.default = self.names[0] if len(self._versions) == 1 else None

    @property
    def names(self) -> list[str]:
        return sorted(self._versions)

    def get(self, name: str | None = None, version: str | None = None) -> Model:
        """The default where no name is given, the newest version where none is. Raises UnknownModel."""
        name = self.default if name is None else name
        if name is None and self._versions:
            names = ", ".join(map(repr, self.names))
            raise UnknownModel(f"several models are served, and none is the default: name one of {names}")
        if name is None or name not in self._versions:
            raise UnknownModel(self._listed if name is None else f"{name!r} is not served here; {self._listed}")
        versions = self._versions[name]
        if version is None:
            return next(reversed(versions.values()))
        if version not in versions:
            raise UnknownModel(f"version {version!r} of {name!r} is not served here; {', '.join(versions)} is")
        return versions[version]

    def known(self, name: str | None) -> Model | None:
        """The newest version of a name, or of the default where it is not served."""
        versions = self._versions.get(name or "") or self._versions.get(self.default or "")
        return next(reversed(versions.values())) if versions else None

    def versions(self, name: str) -> list[str]:
        """The newest last."""
        return list(self._versions[name])

    @property
    def _listed(self) -> str:
        if not self._versions:
            return "no model is served"
        return f"{', '.join(map(repr, self.names))} {'is' if len(self._versions) == 1 else 'are'}"
