"""Every setting of the server: from flags, else from `ANYTIME_*` in the environment, else its default."""

import math
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, CliSuppress, SettingsConfigDict

from service.access import KeyLimits, KeySource
from service.budgets import Budgets

EMBEDDED_MODELS = Path(__file__).resolve().parent / "models"
EMBEDDED_DEFAULT = "cifar100"

Milliseconds = Annotated[float, Field(allow_inf_nan=False)]


class Settings(BaseSettings):
    """Serve artifacts over HTTP; each request names the time in which it wants its answer.

    Every flag can also be set in the environment: --max-batch is ANYTIME_MAX_BATCH.
    """

    model_config = SettingsConfigDict(
        cli_prog_name="python -m service", cli_kebab_case=True, cli_implicit_flags=True, env_prefix="ANYTIME_"
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    front_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="processes that speak HTTP and decode images, beside the one of the engine, on one port; 0 takes a "
        "single process for all. auto takes 0 on two cores, and on more all but one of those that the engine's threads "
        "leave; on a GPU the engine has one",
    )
    grpc_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="port for the Open Inference Protocol over gRPC, at the same address; 0 takes a free one. Off "
        "unless given; needs the extra 'grpc'",
    )
    root_path: str = Field(
        "", pattern=r"^(/[^/?#]+)*$", description="path under which a proxy shows this server, such as /anytime"
    )
    forwarded_allow_ips: str = Field(
        "",
        description="addresses and networks, separated by commas, of proxies whose X-Forwarded-For and "
        "X-Forwarded-Proto are believed; * for any. None unless given",
    )
    trust_request_start: bool = Field(
        False,
        description="believe X-Request-Start, in which a gateway says when it got a request: the time since then is "
        "taken from the budget. The clocks of the two must agree",
    )
    cors_origins: str = Field(
        "",
        pattern=r"^(\*|https?://[^/,\s]+(,\s*https?://[^/,\s]+)*)?$",
        description="origins, separated by commas, whose pages may ask from a browser, such as "
        "https://example.org; * for any. None unless given",
    )
    api_keys_file: Path | None = Field(
        None,
        description="file of API keys, a line name:key each; every request but for health and the playground's files "
        "then needs one, as X-API-Key or Authorization: Bearer. Behind a key its own limits may stand, as rate=10 "
        "burst=20 concurrency=4. The file is read again when it changes. Keys are also taken from ANYTIME_API_KEY in "
        "the environment, as key or name:key, separated by commas",
    )
    api_key: CliSuppress[SecretStr] = Field(SecretStr(""), description="API keys; only in the environment")
    open_metrics: bool = Field(False, description="/metrics needs no API key, as health never does")
    rate_limit: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="most requests per second of each API key; more are refused with 429",
    )
    rate_burst: int | None = Field(
        None, ge=1, description="how many of them may come at once; default: those of one second"
    )
    max_concurrency: int | None = Field(
        None, ge=1, description="most requests of each API key that are answered at a time; more are refused with 429"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="text for people, or a JSON document a line; on standard error"
    )
    access_log: bool = Field(
        False,
        description="log each request: status, time, how it was answered, the name of its API key; never a key or a "
        "picture",
    )
    tracing: bool = Field(
        False,
        description="a span of OpenTelemetry for each request, sent as OTEL_* in the environment says; needs the extra "
        "'otel'",
    )
    playground: bool = Field(True, description="a page at / to try pictures in a browser and to watch the server")
    model: Path = Field(
        EMBEDDED_MODELS, description="an artifact, or a folder of them, all served; default: the embedded ones"
    )
    default_model: str | None = Field(
        None,
        description="name of the model for requests that name none; where several are served and none is the default, "
        f"such a request is refused. Of the embedded ones it is {EMBEDDED_DEFAULT}",
    )
    watch: bool = Field(
        True,
        description="serve what changes in the folder of the model as soon as it does: a new version before the old "
        "one goes, which finishes what it has",
    )
    model_control: bool = Field(
        False,
        description="let clients load and unload models, by POST /v2/repository/models/NAME/load and …/unload",
    )
    precision: Literal["auto", "fp32", "int8", "fp16"] = Field(
        "auto",
        description="which to serve of each network, all of which must be there in it; auto takes the one made for "
        "the device: int8 on a CPU, fp16 on a GPU",
    )
    default_budget_ms: Milliseconds | None = Field(
        None,
        gt=0,
        description="latency budget, in ms, of a request that names none; without it such a request is refused",
    )
    min_budget_ms: Milliseconds = Field(
        0, ge=0, description="shortest latency budget, in ms, that a request may ask for; less is refused with 422"
    )
    max_budget_ms: Milliseconds | None = Field(
        None,
        gt=0,
        description="longest latency budget, in ms: who asks for more, or for no limit, has this one, and the answer "
        "says so",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="where to run; auto takes a GPU where there is one. All models run on the same: one that cannot is "
        "refused",
    )
    cuda_graphs: bool = Field(
        False,
        description="launch a whole stage at once on a GPU, at the price of memory for every stage and batch size; "
        "refused where an operation has no CUDA kernel, as in int8. Off, for its gain depends on network and GPU: "
        "python -m benchmarks.device measures it",
    )
    threads: int = Field(
        0, ge=0, description="threads of the inference engine; 0 takes half of the cores, for HTTP needs the rest"
    )
    max_batch: int = Field(32, ge=1, le=1024, description="most images that run together")
    max_queue: int = Field(
        256,
        ge=1,
        description="most requests that wait to be read, jobs of a model and large images to decode; one more is "
        "refused with 429, unless others wait only to go deeper, who give way",
    )
    max_body_bytes: int = Field(
        32 * 2**20, ge=1, description="largest request body, in bytes; more is refused with 413"
    )
    max_images: int = Field(64, ge=1, description="most images in the form of one request; more are refused with 400")
    max_pixels: int = Field(
        50_000_000,
        ge=1,
        description="largest image, in pixels; more is refused with 413. A phone's photo has 12 to 50 M",
    )
    max_decoded_pixels: int = Field(
        25_000_000,
        ge=1,
        description="most pixels that are decoded of an image; only JPEG, unless it is progressive, can be decoded at "
        "reduced size, so that this is the limit of all others",
    )
    max_connections: int = Field(
        8192,
        ge=1,
        description="most connections; for one more, that which has kept the server waiting the longest is closed, or "
        "where all are at work, the new one, with 503. Lowered where the process may not have as many open files. Each "
        "of --front-workers has its share of this limit, of the next one and of --max-buffered-bytes",
    )
    max_connections_per_address: int = Field(
        4096,
        ge=1,
        description="most connections from one address, in IPv6 one /64 network; for one more, another of that address "
        "is closed as above. The proxies of --forwarded-allow-ips are not counted",
    )
    head_timeout_ms: Milliseconds = Field(
        10_000,
        gt=0,
        description="time, in ms, for the head of a request to arrive, from its first byte or that of a new "
        "connection; slower is refused with 408",
    )
    max_head_bytes: int = Field(
        65_536, ge=1024, description="largest head of a request, in bytes; more is refused with 431"
    )
    idle_timeout_ms: Milliseconds = Field(
        5_000, gt=0, description="time, in ms, for which a connection is kept after an answer"
    )
    grpc_idle_timeout_ms: Milliseconds = Field(
        60_000,
        gt=0,
        description="time, in ms, for which a connection of the gRPC port is kept without a call, and after which a "
        "client in a call is asked whether it is still there",
    )
    body_timeout_ms: Milliseconds = Field(
        10_000,
        gt=0,
        description="time for a request's body to arrive, in ms; it begins anew as often as --min-rate is kept in it. "
        "Slower is refused with 408",
    )
    answer_timeout_ms: Milliseconds = Field(
        10_000,
        gt=0,
        description="time, in ms, for which an answer may wait to be read; it begins anew as often as --min-rate is "
        "kept in it. Then the connection is closed",
    )
    min_rate: float = Field(
        16_384,
        gt=0,
        allow_inf_nan=False,
        description="bytes per second at which a long body must come, and a long answer be read, at least",
    )
    max_buffered_bytes: int = Field(
        2**30,
        ge=1,
        description="most bytes of bodies, requests that wait for those before them, and unread answers of all "
        "connections together; beyond it those that keep most are closed",
    )
    stage_timeout_ms: Milliseconds = Field(
        30_000,
        gt=0,
        description="time, in ms, after which a stage that still runs has hung, as when a device fails: all who wait "
        "are told, and the server ends with status 1",
    )
    drain_delay_ms: Milliseconds = Field(
        0, ge=0, description="time, in ms, to go on serving as not ready after SIGTERM, until balancers have noticed"
    )
    shutdown_timeout_ms: Milliseconds = Field(
        30_000, gt=0, description="most time, in ms, to finish what was admitted before exit"
    )

    @model_validator(mode="after")
    def name_the_embedded_default(self) -> Self:
        if self.default_model is None and self.model.resolve() == EMBEDDED_MODELS:
            self.default_model = EMBEDDED_DEFAULT
        return self

    @model_validator(mode="after")
    def budgets_agree(self) -> Self:
        least, most, default = self.min_budget_ms, self.max_budget_ms, self.default_budget_ms
        if most is not None and least > most:
            raise ValueError(f"min_budget_ms {least:g} is more than max_budget_ms {most:g}")
        if default is not None and not least <= default <= (math.inf if most is None else most):
            raise ValueError(f"default_budget_ms {default:g} is not between min_budget_ms and max_budget_ms")
        return self

    @model_validator(mode="after")
    def limits_have_keys(self) -> Self:
        limited = [name for name in ("rate_limit", "max_concurrency") if getattr(self, name) is not None]
        if limited and self.key_source is None:
            raise ValueError(f"{limited[0]} is a limit of each API key, and there are none: give --api-keys-file")
        if self.rate_burst is not None and self.rate_limit is None:
            raise ValueError("rate_burst says how much of rate_limit may come at once, which is not given")
        return self

    @property
    def key_source(self) -> KeySource | None:
        """None where nobody needs a key."""
        listed = self.api_key.get_secret_value()
        if not listed and self.api_keys_file is None:
            return None
        limits = KeyLimits(rate=self.rate_limit, burst=self.rate_burst, concurrency=self.max_concurrency)
        return KeySource(listed, self.api_keys_file, limits)

    @property
    def budgets(self) -> Budgets:
        default, most = self.default_budget_ms, self.max_budget_ms
        return Budgets(
            None if default is None else default / 1000,
            self.min_budget_ms / 1000,
            math.inf if most is None else most / 1000,
        )
