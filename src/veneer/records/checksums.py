"""Checksums of what finished stages left, and a second copy of run.json: RUN/checksums.json.

A file that was cut, emptied or changed since its stage was done is found before anything is built on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from veneer.errors import RunError
from veneer.records.files import Record, hash_file, write_json
from veneer.records.run import RunDir, RunRecord

FOLDERS = ("cache", "train", "lora", "samples", "report")
"""Folders of a run that hold nothing but what stages made; the data set is a person's too."""


class Checksums(Record):
    """Checksums.json."""

    record: RunRecord | None = None
    """Run.json as it was when a stage was last done."""
    files: Mapping[str, Mapping[str, str]] = {}
    """SHA-256 of each stage's files by their path in the run."""


def record_done(run: RunDir, record: RunRecord, stages: Mapping[str, Iterable[Path]]) -> None:
    """Write that stages are done into run.json, and what they left before that.

    A kill between the two leaves them to do; the other way round, what is damaged later would not be found.

    Args:
        record: Run.json as it is from now on.
        stages: What each left; a missing file is left out.
    """
    _write(run, record, {stage: _sums(run, files) for stage, files in stages.items()})
    record.write(run.run_json)


def forget_checksums(run: RunDir, stage: str) -> None:
    """Forget the files of a stage that is done again from here on: they are no longer what they were."""
    _write(run, run.read_record(), {stage: {}})


@contextlib.contextmanager
def renewed(run: RunDir, stage: str, path: Path) -> Iterator[None]:
    """Let a later stage add to the file of a stage, in a block.

    Nothing is known of the file meanwhile: a kill leaves it with or without what was added, damaged in
    neither case.
    """
    own, record = _known(run).files.get(stage, {}), run.read_record()
    name = path.relative_to(run.root).as_posix()
    _write(run, record, {stage: {one: own[one] for one in own if one != name}})
    yield
    _write(run, record, {stage: {**own, name: _sum(path)}})


def _write(run: RunDir, record: RunRecord, files: Mapping[str, Mapping[str, str]]) -> None:
    """Write what is known of stages; of the others it stays."""
    known = Checksums(record=record, files={**_known(run).files, **files})
    write_json(run.checksums_json, known.model_dump(exclude_unset=True))


def _sums(run: RunDir, files: Iterable[Path]) -> dict[str, str]:
    return {path.relative_to(run.root).as_posix(): _sum(path) for path in files if path.is_file()}


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
        return hash_file(path)
    except OSError:
        return ""
