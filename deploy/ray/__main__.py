"""`python -m deploy.ray`: Ray on this machine and the application on it, until SIGTERM or SIGINT."""

import os
import signal
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import yaml
from pydantic import Field, FilePath
from pydantic_settings import BaseSettings, CliApp, CliPositionalArg, SettingsConfigDict

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deploy.ray.arrival:middlewares",
    # A replica's own loop answers, instead of a second thread beside it.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    # With Ray's 15, replicas get what other programs leave.
    "RAY_worker_niceness": "0",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
}
"""For all of Ray's processes, unless it says otherwise."""


class Router(StrEnum):
    """`haproxy`: brings requests to replicas directly, to where fewest are. The others: Ray's own proxy does, with its
    own router or with `BudgetAware`.
    """

    HAPROXY = "haproxy"
    POWER_OF_TWO = "power-of-two"
    BUDGET_AWARE = "budget-aware"


class RaySettings(BaseSettings):
    """Start Ray on this machine and the application on it; finish what was admitted at SIGTERM or SIGINT."""

    model_config = SettingsConfigDict(
        cli_prog_name="python -m deploy.ray", cli_kebab_case=True, env_prefix="ANYTIME_RAY_"
    )

    config: CliPositionalArg[FilePath] = Field(
        Path(__file__).with_name("config.yaml"), description="as serve deploy takes it, with one application"
    )
    host: str = Field("127.0.0.1", description="address to listen on, instead of that of the config")
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(None, description="instead of that of the config")
    replicas: Annotated[int, Field(ge=1)] | None = Field(
        None, description="so many, instead of as many as the load needs"
    )
    router: Router = Field(Router.HAPROXY, description="what chooses the replica of a request")
    model: Path | None = Field(None, description="an artifact or a folder of them, instead of that of the config")
    cpus: Annotated[int, Field(ge=1)] | None = Field(
        None, description="cores that Ray may share out; default: those of the machine"
    )
    folder: Path | None = Field(None, description="for Ray's files and sockets; default: /tmp/ray")


def main() -> None:
    settings = CliApp.run(RaySettings)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = str(int(settings.router is Router.HAPROXY))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    try:
        serve_until_told(settings)
    except (ValueError, yaml.YAMLError) as error:
        sys.exit(f"error: {error}")


def serve_until_told(settings: RaySettings) -> None:
    """Ray reads the environment when it is imported."""
    import ray
    from ray import serve
    from ray.serve.schema import ServeDeploySchema

    from deploy.ray.application import Replica, settings_of

    config = ServeDeploySchema.model_validate(yaml.safe_load(settings.config.read_text()))
    if len(config.applications) != 1 or len(config.applications[0].deployments) != 1:
        raise ValueError(f"{settings.config} is to have one application of one deployment")
    [application], deployment = config.applications, cast(Any, Replica)  # what the decorator makes of it
    args = application.args | ({} if settings.model is None else {"model": str(settings.model.resolve())})
    settings_of(args)
    options = options_of(application.deployments[0].model_dump(exclude_unset=True, exclude={"name"}), settings)
    port = config.http_options.port if settings.port is None else settings.port
    http = config.http_options.model_dump() | {"host": settings.host, "port": port}
    told = threading.Event()
    folder = None if settings.folder is None else str(settings.folder.resolve())
    ray.init("local", num_cpus=settings.cpus, include_dashboard=False, _temp_dir=folder)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: told.set())
    try:
        serve.start(proxy_location=config.proxy_location, http_options=http)
        serve.run(
            deployment.options(**options).bind(args), name=application.name, route_prefix=application.route_prefix
        )
        print(f"serving on http://{settings.host}:{port}", flush=True)
        told.wait()
        serve.delete(application.name)  # replicas finish what they have while proxies still bring the answers out
    finally:
        serve.shutdown()
        ray.shutdown()


def options_of(configured: dict[str, Any], settings: RaySettings) -> dict[str, Any]:
    """Of the deployment."""
    options = dict(configured)
    if settings.replicas is not None:
        options.pop("autoscaling_config", None)
        options["num_replicas"] = settings.replicas
    if settings.router is Router.BUDGET_AWARE:
        options["request_router_config"] = {
            "request_router_class": "deploy.ray.routing:BudgetAware",
            "request_routing_stats_period_s": 1,
        }
    return options


if __name__ == "__main__":
    main()
