"""What lies in a folder of a user: files by name, and what is passed over, with the reason."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from veneer.events import Notice
from veneer.records.dataset import REASONS_FILE
from veneer.text import counted, some_of

LEADS_OUT = "a link that leads out of the folder (--follow-links reads those)"
OTHER_KIND = "a link to a file of another kind"
FOLDER_LINK = "a link to a folder that is read in its own place"
NO_FILE = "no file but a pipe, a device or a socket"
UNREADABLE = "no permission to read it"
BROKEN = "a link to nothing"


@dataclass(frozen=True)
class Listing:
    """A folder's files.

    Attributes:
        files: Names relative to the folder, with forward slashes; each can be opened.
        passed_over: What was left alone and may have been meant, by reason.
    """

    files: list[str]
    passed_over: dict[str, list[str]] = field(default_factory=dict)

    def notices(self, stage: str, source: str) -> Iterator[Notice]:
        """Say what was passed over.

        Args:
            source: The folder as the user named it.

        Yields:
            One notice for each reason.
        """
        for reason, names in self.passed_over.items():
            message = f"{counted(len(names), 'entry')} of {source} passed over, {reason}: {some_of(names)}"
            yield Notice(stage, "passed-over", message.replace("entrys", "entries"))


def list_folder(
    root: Path,
    kinds: Sequence[Callable[[str], bool]],
    *,
    leave_out: Path | None = None,
    follow_links: bool = False,
) -> Listing:
    """List the files of a folder and its sub-folders, in the order of their names.

    A link is followed where it leads to a file of its own kind within the folder: a picture to a picture, a
    caption to a caption. A stranger's folder may hold a link to anything.

    Args:
        kinds: Tell by a name whether a file is of a kind that matters, such as pictures.
        leave_out: A folder inside that is not read.
        follow_links: Whether all links are followed, to folders too, each folder once.

    Returns:
        The files; hidden ones, and what another data set rejected, are left out.
    """
    return _Walk(root, kinds, leave_out, follow_links).listing()


class _Walk:
    def __init__(
        self, root: Path, kinds: Sequence[Callable[[str], bool]], leave_out: Path | None, follow_links: bool
    ) -> None:
        self._root = root
        self._whole = root.resolve()
        self._kinds = kinds
        self._leave_out = leave_out.resolve() if leave_out is not None else None
        self._follow_links = follow_links
        self._seen: set[tuple[int, int]] = set()
        self._passed_over: defaultdict[str, list[str]] = defaultdict(list)

    def listing(self) -> Listing:
        files = list(self._files())
        return Listing(files, dict(self._passed_over))

    def _files(self) -> Iterator[str]:
        walk = os.walk(self._root, followlinks=self._follow_links, onerror=self._unreadable)
        for place, folders, names in walk:
            here = Path(place)
            if REASONS_FILE in names or here.resolve() == self._leave_out or self._was_here(here):
                folders.clear()
                continue
            relative = here.relative_to(self._root).as_posix()
            prefix = "" if relative == "." else f"{relative}/"
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in folders:
                if not self._follow_links and (here / name).is_symlink():
                    inside = self._resolved(here / name).is_relative_to(self._whole)
                    self._passed_over[FOLDER_LINK if inside else LEADS_OUT].append(f"{prefix}{name}/")
            for name in sorted(names):
                if not name.startswith(".") and self._can_be_read(here / name, prefix + name):
                    yield prefix + name

    def _unreadable(self, error: OSError) -> None:
        path = Path(os.fsdecode(error.filename or self._root))
        self._passed_over[UNREADABLE].append(f"{path.relative_to(self._root).as_posix()}/")

    def _was_here(self, folder: Path) -> bool:
        facts = folder.stat()
        key = (facts.st_dev, facts.st_ino)
        known = key in self._seen
        self._seen.add(key)
        return known

    def _can_be_read(self, path: Path, name: str) -> bool:
        reason = self._objection(path)
        if reason and any(is_kind(name) for is_kind in self._kinds):
            self._passed_over[reason].append(name)
        return reason == ""

    def _objection(self, path: Path) -> str:
        try:
            is_link = path.is_symlink()
            is_file = stat.S_ISREG(path.stat().st_mode)
        except PermissionError:
            return UNREADABLE
        except (OSError, RuntimeError):
            return BROKEN
        if not is_file:
            return NO_FILE
        return self._link_objection(path) if is_link and not self._follow_links else ""

    def _link_objection(self, path: Path) -> str:
        target = self._resolved(path)
        if not target.is_relative_to(self._whole):
            return LEADS_OUT
        own = [is_kind for is_kind in self._kinds if is_kind(path.name)]
        return "" if all(is_kind(target.name) for is_kind in own) else OTHER_KIND

    def _resolved(self, path: Path) -> Path:
        try:
            return path.resolve()
        except (OSError, RuntimeError):  # links in a circle
            return Path(os.sep)
