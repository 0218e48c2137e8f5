"""`python -m export SOURCE OUT.onnx`: verify, calibrate and write an artifact; `evaluate` runs one on test images."""

import sys

from pydantic_settings import CliApp

from export.evaluation.evaluate import EvaluateConfig, evaluate, report
from export.export import ExportConfig, export
from export.verification import VerificationError


def main() -> None:
    arguments = sys.argv[1:]
    try:
        if arguments and arguments[0] == "evaluate":
            evaluate(CliApp.run(EvaluateConfig, cli_args=arguments[1:]))
        else:
            config = CliApp.run(ExportConfig, cli_args=arguments)
            report(export(config), config.report or config.out.with_suffix(".html"))
    except (ValueError, OSError, VerificationError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
