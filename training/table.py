"""`python -m training table`: every method with every seed under one recipe, each a run that may be resumed."""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, CliApp, CliUnknownArgs, SettingsConfigDict

from training import runs
from training.checkpoint import MEASURED, check_same, known
from training.config import TrainConfig
from training.devices import leads
from training.logs import RESULTS
from training.recipes import METHODS
from training.report import AGAINST, ReportConfig, report
from training.train import CHECKPOINT, train


class TableConfig(BaseSettings):
    """Train every method with every seed, one run after the other, and report them.

    All other flags are those of `python -m training` and hold for every run. Given again, the same command goes on
    where it was killed; of a finished run its results are enough.
    """

    model_config = SettingsConfigDict(
        cli_prog_name="python -m training table",
        cli_kebab_case=True,
        cli_ignore_unknown_args=True,
        env_prefix="ANYTIME_TABLE_",
    )

    out: Path = Field(Path("runs/table"), description="folder of the runs, METHOD-SEED, and of their report")
    seeds: int = Field(3, ge=1, description="runs of each method, with seeds from 0")
    methods: list[str] = Field(list(METHODS), description=f"some of {', '.join(METHODS)}")
    training: CliUnknownArgs = Field([], description="flags of the runs")

    @field_validator("methods")
    @classmethod
    def known_methods(cls, methods: list[str]) -> list[str]:
        if unknown := [method for method in methods if method not in METHODS]:
            raise ValueError(f"no method {', '.join(unknown)}; there are {', '.join(METHODS)}")
        return methods

    @field_validator("training")
    @classmethod
    def leave_the_comparison_to_the_table(cls, flags: list[str]) -> list[str]:
        for flag, instead in (("--seed", "--seeds"), ("--method", "--methods")):
            if any(given.partition("=")[0] == flag for given in flags):
                raise ValueError(f"a table has several; give {instead} in place of {flag}")
        return flags


def table(config: TableConfig) -> None:
    """The seeds are the outer loop, so that a table which was cut short still compares all methods.

    What the first run measures to be fastest holds for all of them.
    """
    folders: list[Path] = []
    measured: list[str] = []
    for seed in range(config.seeds):
        for method in config.methods:
            run = config.out / f"{method}-{seed}"
            if leads():
                print(f"{method}, seed {seed}", flush=True)
            flags = [*config.training, *measured, f"--method={method}", f"--seed={seed}", f"--out={run}"]
            settings = trained(CliApp.run(TrainConfig, cli_args=flags))
            measured = [f"--{name}={settings[name]}" for name in sorted(MEASURED)]
            folders.append(run)
    if leads():
        report(ReportConfig(runs=folders, out=config.out, against=AGAINST))


def trained(config: TrainConfig) -> dict[str, Any]:
    """Settings of the finished run, which may have been finished before and kept without its checkpoint."""
    results = config.out / RESULTS
    if not results.exists() or (config.out / CHECKPOINT).exists():
        return train(config).config
    settings: dict[str, Any] = runs.finished(config.out)["settings"]
    check_same(results, config, TrainConfig(**known(settings)))
    if leads():
        print(f"{results} is finished")
    return settings
