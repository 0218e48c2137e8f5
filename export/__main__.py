"""`python -m export CHECKPOINT OUT.onnx`: verify, calibrate and write an artifact."""

import sys

from pydantic_settings import CliApp

from export.export import ExportConfig, export
from export.verification import VerificationError


def main() -> None:
    try:
        export(CliApp.run(ExportConfig))
    except (ValueError, OSError, VerificationError) as error:
        sys.exit(f"error: {error}")


main()
