"""`python -m training table`: every method with every seed under one recipe, each a run that may be resumed."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, CliApp, CliUnknownArgs, SettingsConfigDict

from training.checkpoint import MEASURED
from training.config import TrainConfig
from training.devices import leads
from training.recipes import METHODS
from training.report import ReportConfig, report
from training.train import train


class TableConfig(BaseSettings):
    """Train every method with every seed, one run after the other, and report them.

    All other flags are those of `python -m training` and hold for every run. Given again, the same command goes on
    where it was killed.
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
    runs, measured = [], []
    for seed in range(config.seeds):
        for method in config.methods:
            run = config.out / f"{method}-{seed}"
            if leads():
                print(f"{method}, seed {seed}", flush=True)
            flags = [*config.training, *measured, f"--method={method}", f"--seed={seed}", f"--out={run}"]
            trained = train(CliApp.run(TrainConfig, cli_args=flags))
            measured = [f"--{name}={trained.config[name]}" for name in sorted(MEASURED)]
            runs.append(run)
    if leads():
        report(ReportConfig(runs=runs, out=config.out))
