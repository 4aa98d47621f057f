"""Checksums of what finished stages left, and a second copy of run.json: RUN/checksums.json.

A file that was cut, emptied or changed since its stage was done is found before anything is built on it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from veneer.errors import RunError
from veneer.records.files import Record, write_json
from veneer.records.run import RunDir, RunRecord

FOLDERS = ("cache", "train", "lora", "samples", "report")
"""Folders of a run that hold nothing but what stages made; the data set is a person's too."""


class Checksums(Record):
    """Checksums.json."""

    record: RunRecord | None = None
    """Run.json as it was when a stage was last done."""
    files: Mapping[str, Mapping[str, str]] = {}
    """SHA-256 of each stage's files by their path in the run."""


def write_checksums(run: RunDir, stage: str, files: Iterable[Path]) -> None:
    """Remember the files of a stage that is done just now, and run.json as it is now.

    Args:
        files: What it left; a missing one is left out.
    """
    sums = {path.relative_to(run.root).as_posix(): _sum(path) for path in files if path.is_file()}
    known = Checksums(record=run.read_record(), files={**_known(run).files, stage: sums})
    write_json(run.checksums_json, known.model_dump(exclude_unset=True))


def renew_checksum(run: RunDir, path: Path) -> None:
    """Remember a file as it is now, whatever stage made it: a later one added to it."""
    name, known = path.relative_to(run.root).as_posix(), _known(run)
    files = {
        stage: {**sums, name: _sum(path)} if name in sums else sums for stage, sums in known.files.items()
    }
    write_json(run.checksums_json, known.model_copy(update={"files": files}).model_dump(exclude_unset=True))


def damaged_files(run: RunDir, stage: str) -> list[Path]:
    """Files of a finished stage that are gone, or not what they were.

    Returns:
        Their paths, sorted; none where nothing is known of the stage.
    """
    known = _known(run).files.get(stage, {})
    inside = {name: run.root / name for name in sorted(known) if _is_inside(run, name)}
    return [path for name, path in inside.items() if _sum(path) != known[name]]


def known_record(run: RunDir) -> RunRecord | None:
    """Run.json as it was when a stage was last done; None where that is not known."""
    return _known(run).record


def _is_inside(run: RunDir, name: str) -> bool:
    """Whether a name is of a file that a stage may have written; a run folder may come from a stranger."""
    path, parts = run.root / name, Path(name).parts
    is_plain = bool(parts) and parts[0] in FOLDERS and ".." not in parts
    return is_plain and path.resolve().is_relative_to(run.root.resolve())


def _known(run: RunDir) -> Checksums:
    """What is known; nothing where the file is not there, or damaged itself."""
    if run.checksums_json.is_file():
        with contextlib.suppress(RunError):
            return Checksums.read(run.checksums_json, "")
    return Checksums()


def _sum(path: Path) -> str:
    """SHA-256; empty where there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
