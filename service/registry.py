"""What is served: name → versions → model."""

from collections.abc import Iterable, Iterator

from service.errors import UnknownModel
from service.model import Model


class Models:
    """The newest version of a name is the one that answers, unless another one is asked for.

    `default`: the name for requests that give none; a single model needs none to be named.
    """

    def __init__(self, models: Iterable[Model], default: str | None = None) -> None:
        """`models`: older versions before newer ones. Raises ValueError where the default is not served."""
        self._versions: dict[str, dict[str, Model]] = {}
        for model in models:
            self._versions.setdefault(model.id.name, {})[model.id.version] = model
        if default is None and len(self._versions) == 1:
            default = self.names[0]
        if default is not None and default not in self._versions:
            raise ValueError(f"default_model {default!r} is not served; {self.listed} {self._verb}")
        self.default = default

    def __iter__(self) -> Iterator[Model]:
        """All versions of all models."""
        return (model for versions in self._versions.values() for model in versions.values())

    @property
    def names(self) -> list[str]:
        return sorted(self._versions)

    @property
    def listed(self) -> str:
        return ", ".join(map(repr, self.names))

    def get(self, name: str | None = None, version: str | None = None) -> Model:
        """The default where no name is given, the newest version where none is. Raises UnknownModel."""
        name = self.default if name is None else name
        if name is None:
            raise UnknownModel(f"several models are served, and none is the default: name one of {self.listed}")
        if name not in self._versions:
            raise UnknownModel(f"{name!r} is not served here; {self.listed} {self._verb}")
        versions = self._versions[name]
        if version is None:
            return next(reversed(versions.values()))
        if version not in versions:
            raise UnknownModel(f"version {version!r} of {name!r} is not served here; {', '.join(versions)} is")
        return versions[version]

    def versions(self, name: str) -> list[str]:
        """The newest last."""
        return list(self._versions[name])

    @property
    def _verb(self) -> str:
        return "is" if len(self._versions) == 1 else "are"
