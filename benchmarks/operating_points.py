"""What the operating points save: seconds of the bare engine against always the last exit, in turn in one run."""

import statistics
from typing import Any

from benchmarks import images, report
from benchmarks.bare import bare_engine, bare_seconds
from export.risk_control import NEVER
from service import artifact
from service.settings import EMBEDDED_MODEL

IMAGES = 5000
BATCHES = (1, 8, 32)
ROUNDS = 3


def main() -> None:
    served = artifact.load(EMBEDDED_MODEL)
    metadata = served.metadata
    inputs = images.inputs(images.pngs(images.fashion_mnist(), IMAGES), metadata.input)
    engine = bare_engine(served, max(BATCHES))
    points = {name: point.thresholds for name, point in metadata.operating_points.items()}
    always_last = [NEVER] * (len(metadata.exits) - 1)
    figures: dict[str, Any] = {"images": IMAGES}
    for size in BATCHES:
        bare_seconds(engine, inputs[:500], size, always_last)  # warm
        rounds = []
        for _ in range(ROUNDS):
            whole = bare_seconds(engine, inputs, size, always_last)
            rounds.append({name: bare_seconds(engine, inputs, size, point) / whole for name, point in points.items()})
        figures[f"batch_{size}"] = {
            name: round(statistics.median(ratios[name] for ratios in rounds), 3) for name in points
        }
    print("seconds ÷ seconds of always the last exit:")
    report.save("operating_points", figures)


if __name__ == "__main__":
    main()
