"""Files dropped on the page: checked by name and size, laid aside, and handed to `collect` like a folder."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from veneer.errors import VeneerError
from veneer.records.dataset import PICTURE_SUFFIXES
from veneer.records.files import write_text
from veneer.records.names import FreeNames
from veneer.web.workspace import Workspace

TEXT_SUFFIXES = frozenset({".txt", ".caption", ".csv", ".jsonl"})
ACCEPTED = tuple(sorted(PICTURE_SUFFIXES | TEXT_SUFFIXES))
MAX_FILE_MIB = 25
MAX_FILES = 20_000
_UNUSUAL = re.compile(r"[^\w .,()+-]")


@contextmanager
def staged(workspace: Workspace, files: Sequence[str]) -> Iterator[Path]:
    """Uploaded files in a folder of their own, for as long as the block lasts.

    Args:
        files: Where the server put them.

    Raises:
        VeneerError: If there are too many, or one is too large or of another kind.
    """
    if len(files) > MAX_FILES:
        raise VeneerError(
            f"{len(files)} files at once", todo=f"Drop at most {MAX_FILES}, or copy the folder here"
        )
    folder = workspace.private / "uploads" / f"staged-{uuid.uuid4().hex[:12]}"
    folder.mkdir(parents=True)
    names = FreeNames(folder)
    try:
        for file in files:
            check_file(Path(file))
            shutil.copyfile(file, names.give(safe_name(Path(file).name)))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_file(file: Path) -> None:
    """Refuse a file by its kind or size; what is inside is looked at by `collect`.

    Raises:
        VeneerError: If it is too large, or neither a picture nor captions.
    """
    if file.suffix.lower() not in ACCEPTED:
        kinds = ", ".join(suffix.lstrip(".") for suffix in sorted(PICTURE_SUFFIXES))
        raise VeneerError(
            "this kind of file is not taken",
            where=safe_name(file.name),
            todo=f"Drop pictures ({kinds}) or captions",
        )
    if file.stat().st_size > MAX_FILE_MIB * 2**20:
        raise VeneerError(
            f"the file is larger than {MAX_FILE_MIB} MiB",
            where=safe_name(file.name),
            todo="Make it smaller first",
        )


def safe_name(name: str) -> str:
    """A file's own name without any path, and without characters that mean something to a shell or a disk.

    Args:
        name: Whatever a browser or another program sent.

    Returns:
        A plain name, such as ``x.png`` for ``../../x.png``.
    """
    own = PureWindowsPath(name.replace("\0", "")).name  # knows both kinds of slash
    plain = _UNUSUAL.sub("_", own).strip(" .")[-120:]
    return plain or "file"


def address_list(workspace: Workspace, dataset: str, text: str) -> str:
    """Web addresses that the user pasted, as a file that `veneer collect` can be given.

    Args:
        dataset: Name of the data set; a list is kept for each.
        text: One address a line, maybe with a caption behind a tab.

    Returns:
        The source, relative to the workspace; empty where there is no address.

    Raises:
        VeneerError: If the name cannot be used.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    path = workspace.private / "addresses" / f"{workspace.dataset(dataset).name}.txt"
    write_text(path, "\n".join(lines) + "\n")
    return f"urls:{workspace.spelled(path)}"
