"""The drawing sets, fetched from npm at pinned versions: ``python -m pocket fetch``.

Each set is an Iconify package: ``icons.json`` holds the body of every drawing as SVG, by name.
"""

import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .config import Size, work_folder


class RecipeError(Exception):
    """A problem that the reader of the message can mend: what, where, what to do."""


class StoppedError(RecipeError):
    """A training was asked to stop before its budget was spent; what it had is saved."""


@dataclass(frozen=True)
class Source:
    """One drawing set.

    Attributes:
        name: Name of the Iconify package after ``@iconify-json/``.
        version: Pinned version.
        style: The word that stands for the set in captions.
        licence: SPDX name of the licence of the drawings.
        author: Who is to be named.
        is_trained: Whether any part of the base may learn from it.
    """

    name: str
    version: str
    style: str
    licence: str
    author: str
    is_trained: bool


SOURCES = (
    Source("noto", "1.2.9", "soft", "Apache-2.0", "Google LLC, Noto Emoji", True),
    Source("fluent-emoji-flat", "1.2.6", "flat", "MIT", "Microsoft, Fluent Emoji", True),
    Source("twemoji", "1.2.5", "bold", "CC-BY-4.0", "Twitter, Inc and other contributors", True),
    Source("emojione", "1.2.3", "shaded", "CC-BY-4.0", "EmojiOne", True),
    Source("fxemoji", "1.2.2", "simple", "Apache-2.0", "Mozilla Foundation, FxEmojis", True),
    Source("openmoji", "1.2.29", "outlined", "CC-BY-SA-4.0", "OpenMoji", False),
    Source("fluent-emoji", "1.2.7", "3d", "MIT", "Microsoft, Fluent Emoji", False),
)
TRAINED = tuple(source for source in SOURCES if source.is_trained)
KEPT_OUT = tuple(source for source in SOURCES if not source.is_trained)


def source_named(name: str) -> Source:
    """The drawing set of that package name."""
    return next(source for source in SOURCES if source.name == name)


def fetch_sources(size: Size | None = None) -> None:
    """Download and unpack every drawing set that is not there yet; they are the same for every size."""
    for source in SOURCES:
        if not icons_file(source).exists():
            _unpack(_tarball(source), package_folder(source))


def package_folder(source: Source) -> Path:
    """Where a drawing set is unpacked."""
    return work_folder() / "x" / f"iconify-json-{source.name}"


def icons_file(source: Source) -> Path:
    """The file with the drawings of a set."""
    return package_folder(source) / "package" / "icons.json"


@cache
def load_icons(source: Source) -> dict[str, str]:
    """Every drawing of a set as a whole SVG document, by name without hyphens.

    Raises:
        RecipeError: If the set was not fetched.
    """
    file = icons_file(source)
    if not file.exists():
        raise RecipeError(f"{file}: drawing set missing; run: python -m pocket fetch")
    content = json.loads(file.read_text())
    icons = dict(content["icons"])
    for alias, entry in content.get("aliases", {}).items():
        if entry["parent"] in icons:
            icons[alias] = icons[entry["parent"]]
    return {normalised(name): _document(content, icon) for name, icon in icons.items()}


def normalised(name: str) -> str:
    """A drawing's name as all sets spell it: lower case, letters and digits only."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _document(content: dict, icon: dict) -> str:
    width = icon.get("width", content.get("width", 16))
    height = icon.get("height", content.get("height", 16))
    left, top = icon.get("left", content.get("left", 0)), icon.get("top", content.get("top", 0))
    head = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {head} viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'


def _tarball(source: Source) -> Path:
    folder = work_folder() / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"iconify-json-{source.name}-{source.version}.tgz"
    if file.exists():
        return file
    package = f"@iconify-json/{source.name}@{source.version}"
    command = ["npm", "pack", package, "--pack-destination", str(folder)]
    if shutil.which("npm") is None:
        raise RecipeError(
            f"npm is missing, needed to fetch {package}; install Node.js, then run: {' '.join(command)}"
        )
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode or not file.exists():
        last = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise RecipeError(
            f"{package} could not be fetched ({last}); with a network, run: {' '.join(command)}"
        )
    return file


def _unpack(tarball: Path, folder: Path) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(tarball) as archive:
        archive.extractall(partial, filter="data")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
