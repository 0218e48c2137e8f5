"""How much of the engine's power arrives at the client: images per second and time outside the network."""

import statistics
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from benchmarks import FP32_MODEL, INT8_MODEL, images, report
from benchmarks.server import Server
from service import artifact
from simulator.bare import bare_engine, bare_seconds
from simulator.closed import ask_all
from training.progress import bar

WARM = 500
PATH = "/predict?latency_budget_ms=inf"


class HttpSettings(BaseSettings):
    """Compare answers per second over HTTP with those of the bare engine, both at the default operating point."""

    model_config = SettingsConfigDict(cli_prog_name="python -m benchmarks.http", cli_kebab_case=True)

    models: list[Path] = Field([FP32_MODEL, INT8_MODEL], min_length=1, description="artifacts, one per precision")
    dataset: str = Field("fashion-mnist", description="data set of their test images, as for python -m training")
    data: Path = Field(Path("data"), description="folder of the data set, likewise")
    images: int = Field(3000, ge=1, description="how many test images, each asked once per round")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where to run")
    front_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field("auto", description="as for the server")
    clients: list[int] = Field([1, 8, 32], min_length=1, description="numbers of clients that ask at once")
    batches: list[int] = Field([1, 8, 32], min_length=1, description="sizes of batches of the bare engine")
    rounds: int = Field(3, ge=1, description="rounds, in which all take turns; medians over them are reported")


def main() -> None:
    settings = CliApp.run(HttpSettings)
    contents = images.pngs_of(settings.dataset, settings.data, settings.images)
    figures: dict[str, Any] = {}
    for model in settings.models:
        precision = artifact.load(model).metadata.precision
        print(f"{precision}:", flush=True)
        figures[precision] = measured(model, contents, settings)
    report.save("http", figures)


def measured(model: Path, contents: list[bytes], settings: HttpSettings) -> dict[str, float]:
    served = artifact.load(model)
    inputs = images.inputs(contents, served.metadata.input)
    engine = bare_engine(served, max(settings.batches), device=settings.device)
    thresholds = served.metadata.default_thresholds
    bare: dict[int, list[float]] = {size: [] for size in settings.batches}
    over_http: dict[int, list[float]] = {clients: [] for clients in settings.clients}
    outside: list[float] = []
    flags = ("--model", str(model), "--device", settings.device, "--front-workers", str(settings.front_workers))
    with Server(*flags) as server:
        ask_all(server.url, PATH, contents[:WARM], max(settings.clients))
        for _ in bar(range(settings.rounds), "rounds"):
            for size, rates in bare.items():
                rates.append(len(inputs) / bare_seconds(engine, inputs, size, thresholds))
            for clients, rates in over_http.items():
                answered = ask_all(server.url, PATH, contents, clients)
                rates.append(answered.per_second)
                if clients == 1:
                    outside += [one["latency"]["elapsed_ms"] - one["latency"]["compute_ms"] for one in answered.json]
    return summary(medians(bare), medians(over_http), outside)


def medians(rates: dict[int, list[float]]) -> dict[int, float]:
    return {key: statistics.median(values) for key, values in rates.items()}


def summary(bare: dict[int, float], over_http: dict[int, float], outside: list[float]) -> dict[str, float]:
    best = max(bare.values())
    figures = {"one_client_median_elapsed_minus_compute_ms": round(statistics.median(outside), 3)} if outside else {}
    figures |= {f"bare_batch_{size}_images_per_second": round(rate) for size, rate in bare.items()}
    for clients, rate in over_http.items():
        figures[f"http_{clients}_clients_images_per_second"] = round(rate)
        if clients in bare:
            figures[f"http_{clients}_clients_share_of_bare_batch_{clients}"] = round(rate / bare[clients], 3)
        figures[f"http_{clients}_clients_share_of_best_bare"] = round(rate / best, 3)
    return figures


if __name__ == "__main__":
    main()
