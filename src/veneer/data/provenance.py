"""The books of a data set: which picture came from where, and what was left out for which reason.

``provenance.jsonl`` has a line for each picture in ``images/``, ``rejected/reasons.jsonl`` one for each
that was left out. A picture is written under a hidden name, then entered, then renamed: a kill at any moment
leaves a picture that is either entered or not there, and the next command goes on.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from veneer.data.standard import Standardised
from veneer.records.dataset import Dataset
from veneer.records.files import write_bytes
from veneer.records.jsonlines import drop_torn_line
from veneer.records.names import FreeNames, is_within, move_unless_there
from veneer.records.provenance import PictureOrigin, add_provenance, read_provenance
from veneer.records.rejected import Rejected, add_rejected, mend_rejected, read_rejected

_PARTIAL = ".partial"
_NUMBERED = re.compile(r"(\d{6,})\.")
_OURS = re.compile(r"\.(job-\d+|\d{6,})\.partial")


class Provenance:
    """The books of one data set, read when opened and written line by line.

    Args:
        dataset: The data set; its folders are made where they do not exist.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        dataset.images.mkdir(parents=True, exist_ok=True)
        self._mend()
        self.accepted: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        self.by_sha256: dict[str, str] = {}
        self._read()
        self._names = FreeNames(dataset.rejected, self._promised)
        self._number = self._last_number()
        self._job = 0

    def knows(self, origin: str, stamp: str = "") -> bool:
        """Whether a picture was seen by an earlier command.

        Args:
            stamp: What changes when its file is written anew; empty where it has none.

        Returns:
            True where it was taken, or left out and not mended since.
        """
        return origin in self.accepted or self.refused.get(origin) == stamp

    def new_partial(self) -> Path:
        """Name a hidden file for a picture that may yet be left out.

        Returns:
            A path under ``images/`` that no other picture gets.
        """
        self._job += 1
        return self.dataset.images / f".job-{self._job}{_PARTIAL}"

    def accept(self, origin: str, partial: Path, made: Standardised, facts: Mapping[str, Any]) -> str:
        """Enter a picture and give it its name.

        Args:
            partial: Its hidden file.
            made: What it became.
            facts: Further facts, such as "page" or "caption"; empty ones are left out.

        Returns:
            Its file name within the data set, such as ``images/000001.png``.
        """
        self._number += 1
        name = f"images/{self._number:06d}{made.suffix}"
        numbered = partial.replace(partial.with_name(f".{self._number:06d}{_PARTIAL}"))
        entry = PictureOrigin(
            file_name=name,
            origin=origin,
            facts={key: value for key, value in facts.items() if value},
            time=_now(),
            sha256=made.sha256,
            phash=f"{made.phash:016x}",
            format=made.format,
            original_size=made.original_size,
            size=made.size,
            changes=made.changes,
        )
        add_provenance(self.dataset, entry)
        numbered.replace(self.dataset.root / name)
        self.accepted[origin] = name
        self.by_sha256[made.sha256] = name
        return name

    def refuse(self, origin: str, reason: str, file: Path | None, **facts: Any) -> None:
        """Enter a picture that is left out, and keep a copy of its file.

        Args:
            file: The file as it came; None where there is none or none worth keeping.
            **facts: Further facts.
        """
        kept = self._keep(file) if file is not None and file.is_file() and not file.is_symlink() else ""
        told = {"time": _now(), **facts}
        entry = Rejected(file=kept, origin=origin, stage="collect", reason=reason, facts=told)
        add_rejected(self.dataset, [entry])
        self.refused[origin] = str(facts.get("stamp", ""))
        self.reasons[origin] = reason

    def _keep(self, file: Path) -> str:
        try:
            content = file.read_bytes()
        except OSError:  # an unreadable file cannot be copied either; its reason says so
            return ""
        target = self._names.give(file.name, content)
        if not target.is_file():
            write_bytes(target, content)
        return f"rejected/{target.name}"

    def _mend(self) -> None:
        drop_torn_line(self.dataset.provenance_jsonl)
        mend_rejected(self.dataset)
        names = {
            Path(name).stem: name
            for entry in read_provenance(self.dataset)
            if (name := self._own_name(entry))
        }
        for partial in self.dataset.images.glob(f".*{_PARTIAL}"):
            entered = names.get(partial.name[1 : -len(_PARTIAL)])
            if entered:
                move_unless_there(partial, self.dataset.root / entered)
            if _OURS.fullmatch(partial.name):
                partial.unlink(missing_ok=True)

    def _read(self) -> None:
        for entry in read_provenance(self.dataset):
            if name := self._own_name(entry):
                self.accepted[entry.origin] = name
                self.by_sha256[entry.sha256] = name
        self._promised = []
        for one in read_rejected(self.dataset):
            self._promised.append(Path(one.file).name)
            if one.stage == "collect":
                self.refused[one.origin] = one.told("stamp")
                self.reasons[one.origin] = one.reason

    def _own_name(self, entry: PictureOrigin) -> str:
        """The name that an entry gives its picture; empty where it leads out of the data set."""
        return entry.file_name if is_within(self.dataset.root, entry.file_name) else ""

    def _last_number(self) -> int:
        names = [Path(name).name for name in self.accepted.values()]
        names += [path.name for path in self.dataset.images.iterdir()]
        numbers = [int(match[1]) for name in names if (match := _NUMBERED.match(name))]
        return max(numbers, default=0)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
