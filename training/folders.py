"""A folder of images per class: which files there are, in the order of torchvision's ImageFolder, and what is amiss."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from decoding import EXTENSIONS

NAMED = 20
"""Names at most in a message."""
IMAGES = EXTENSIONS | {".heic", ".heif", ".ppm", ".pgm"}
"""Extensions, in lower case, of files that are meant as images; those that are not accepted are bad ones."""
# What systems and programs leave beside a person's files: Unix, Synology, QNAP, macOS' archives, Windows.
HIDDEN = re.compile(
    r"\..*|@eaDir|@tmp|@Recycle|#recycle|#snapshot|lost\+found|__MACOSX|\$RECYCLE\.BIN|System Volume Information"
    r"|Thumbs\.db|ehthumbs\.db|desktop\.ini",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class BrokenFile:
    """A file that was meant as an image and cannot be one."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.path)}: {printable(self.reason)}"


class BrokenFiles(ValueError):
    """Files that cannot be read, each with its reason; `remedy` goes on without them."""

    def __init__(self, broken: list[BrokenFile], remedy: str = "--skip-broken") -> None:
        lines = "\n".join(f"  {line}" for line in listed(broken))
        super().__init__(f"{counted(len(broken), 'file')} cannot be read ({remedy} goes on without them):\n{lines}")


@dataclass
class Folder:
    """`paths` of the images, class by class, with the number of the class and the size in bytes of each.

    `ignored`: how many other files there are, by extension.
    """

    root: str
    classes: list[str]
    paths: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    broken: list[BrokenFile] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def read_folder(root: Path) -> Folder:
    """Everything in `root` but what is hidden; no file is opened.

    Raises ValueError for images outside a class and for a class without images or with a name that is not UTF-8;
    OSError where `root` cannot be read.
    """
    entries = visible(str(root))
    stray = [entry.name for entry in entries if meant_as_image(entry.name) and not is_folder(entry)]
    if stray:
        raise ValueError(f"{root} has images outside a folder of their class: {named(stray)}")
    found = Folder(str(root), [entry.name for entry in entries if is_folder(entry)])
    if unnamed := [name for name in found.classes if not is_utf8(name)]:
        raise ValueError(f"{root} has folders of classes whose names are not UTF-8: {named(unnamed)}")
    found.broken += [BrokenFile(entry.path, "is a link to nothing") for entry in entries if dangles(entry)]
    empty = []
    for label, name in enumerate(found.classes):
        before = len(found.paths) + len(found.broken)
        read_class(found, os.path.join(found.root, name), label)
        if len(found.paths) + len(found.broken) == before:
            empty.append(name)
    if empty:
        others = f"; other files are ignored ({kinds(found.ignored)})" if found.ignored else ""
        raise ValueError(f"{root} has no images in the folders of the classes {named(empty)}{others}")
    return found


def image_folder(data: Path, train: bool) -> Path:
    candidates = [data / "train"] if train else [data / "test", data / "val"]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"there is no folder {' or '.join(map(str, candidates))}")


def read_class(found: Folder, root: str, label: int) -> None:
    """Adds what is in `root` and all folders below it."""
    files: list[os.DirEntry[str]] = []
    for folder in below(root, found.broken):
        for entry in folder:
            if meant_as_image(entry.name):
                files.append(entry)
            elif not is_folder(entry):
                found.ignored[os.path.splitext(entry.name)[1].lower() or "none"] += 1
    for entry in sorted(files, key=lambda entry: os.path.split(entry.path)):
        try:
            status = entry.stat()
        except OSError as error:
            reason = "is a link to nothing" if dangles(entry) else f"{error.strerror}"
            found.broken.append(BrokenFile(entry.path, reason))
            continue
        if reason := wrong_with(entry.name, status):
            found.broken.append(BrokenFile(entry.path, reason))
        else:
            found.paths.append(entry.path)
            found.labels.append(label)
            found.sizes.append(status.st_size)


def below(root: str, broken: list[BrokenFile], above: tuple[str, ...] = ()) -> Iterator[list["os.DirEntry[str]"]]:
    """What is visible in each folder from `root` down; a link to a folder `above` is not followed."""
    real = os.path.realpath(root)
    if real in above:
        broken.append(BrokenFile(root, "is a link to a folder that it is in"))
        return
    try:
        entries = visible(root)
    except OSError as error:
        broken.append(BrokenFile(root, f"{error.strerror}"))
        return
    yield entries
    for entry in entries:
        if not meant_as_image(entry.name) and is_folder(entry):
            yield from below(entry.path, broken, (*above, real))


def visible(folder: str) -> list["os.DirEntry[str]"]:
    """By name."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not HIDDEN.fullmatch(entry.name)), key=lambda entry: entry.name)


def meant_as_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGES


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Or a link to one; a link to itself, of which `entry.is_dir` raises an error, is none."""
    return os.path.isdir(entry.path)


def dangles(entry: "os.DirEntry[str]") -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)


def wrong_with(name: str, status: os.stat_result) -> str:
    """What can be told of a file without opening it."""
    if stat.S_ISDIR(status.st_mode):
        return "is a folder with the name of an image"
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if not is_utf8(name):
        return "its name is not UTF-8"
    return "" if status.st_size else "is empty"


def is_utf8(name: str) -> bool:
    """The file system's names are bytes; those that are not UTF-8 stand in Python as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(items: Iterable[object]) -> list[str]:
    """As many as a message bears."""
    texts = [str(item) for item in items]
    return [*texts[:NAMED], *([f"and {len(texts) - NAMED:,} more"] if len(texts) > NAMED else [])]


def named(names: Iterable[str]) -> str:
    return ", ".join(listed(map(printable, names)))


def printable(text: str) -> str:
    """As one line of any terminal; bytes that are not UTF-8 as \\x…."""
    decoded = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in decoded)


def kinds(ignored: Counter[str]) -> str:
    return ", ".join(f"{number:,} × {extension}" for extension, number in ignored.most_common(NAMED))
