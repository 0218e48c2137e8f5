"""Where a server is in its life."""

from dataclasses import dataclass

from service.errors import NotReady


@dataclass
class Lifecycle:
    """`ready`: requests are answered. `draining`: they still are, but new ones should go elsewhere. `failed`: an engine
    has, and nothing can be answered any more.
    """

    ready: bool = False
    draining: bool = False
    failed: bool = False

    @property
    def welcomes(self) -> bool:
        """New requests may come here."""
        return self.ready and not self.draining and not self.failed

    def check_ready(self) -> None:
        """Raises NotReady."""
        if not self.ready:
            raise NotReady("the server is not ready; ask /health/ready")
