"""What the Dockerfile begins with is pinned; what it copies is all that the server imports of this project."""

import fnmatch
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOADED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import service.app
print(json.dumps({name: module.__file__ for name, module in sys.modules.items() if name in sys.argv[2:]}))
"""


def test_the_image_is_made_from_one_pinned_version() -> None:
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", bases[0])


def test_the_image_has_all_packages_that_the_server_imports(tmp_path: Path) -> None:
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in " ".join(copied).split():
        assert any(fnmatch.fnmatch(name, pattern) for pattern in allowed), f"{name} is left out by .dockerignore"
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    command = [sys.executable, "-c", LOADED, str(tmp_path), "decoding", "service", "training", "export"]
    loaded = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout)
    assert {"service", "decoding"} <= loaded.keys()
    assert all(Path(file).is_relative_to(tmp_path) for file in loaded.values()), loaded
