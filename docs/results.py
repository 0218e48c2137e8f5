"""A hook of MkDocs: reports and figures stay in benchmarks/results, and the site has them under results/."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

RESULTS = Path("benchmarks/results")
SHOWN = {".csv", ".json", ".md", ".png"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.config_file_path).parent
    for path in sorted((root / RESULTS).rglob("*")):
        if path.suffix in SHOWN:
            name = Path("results") / path.relative_to(root / RESULTS)
            files.append(File.generated(config, name.as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links that lead out of docs/ in the repository."""
    return markdown.replace(f"](../{RESULTS.as_posix()}/", "](results/")
