"""The studio's folder on disk: data sets, recipes and runs, and nothing outside of it.

::

    WORKSPACE/datasets/NAME/     data sets made or opened in the studio
    WORKSPACE/recipes/NAME.toml  recipes saved in the studio
    WORKSPACE/runs/NAME/         runs
    WORKSPACE/.studio/           thumbnails, jobs, uploads, pictures drawn to try things out
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock

from veneer.config import Recipe
from veneer.errors import RecipeError, VeneerError
from veneer.places import outside
from veneer.recipe import bundled_names
from veneer.records.files import write_text
from veneer.records.run import RunDir
from veneer.text import normal_form

_NAME = re.compile(r"[^\W_][\w.-]*")
_RESERVED = frozenset({"con", "prn", "aux", "nul"})


@dataclass(frozen=True)
class Workspace:
    """The studio's folder.

    Attributes:
        root: The folder, absolute.
        also: Further folders and files that recipes may name: the command line said so.
    """

    root: Path
    also: tuple[Path, ...] = ()

    @property
    def datasets(self) -> Path:
        """Folder of the data sets."""
        return self.root / "datasets"

    @property
    def recipes(self) -> Path:
        """Folder of the saved recipes."""
        return self.root / "recipes"

    @property
    def runs(self) -> Path:
        """Folder of the runs."""
        return self.root / "runs"

    @property
    def private(self) -> Path:
        """What the studio keeps for itself; may be deleted while it is closed."""
        return self.root / ".studio"

    @property
    def thumbnails(self) -> Path:
        """Folder of the small versions of pictures."""
        return self.private / "thumbnails"

    def create(self) -> None:
        """Make the folders."""
        for folder in (self.datasets, self.recipes, self.runs, self.private):
            folder.mkdir(parents=True, exist_ok=True)

    def dataset(self, name: str) -> Path:
        """Folder of a data set.

        Returns:
            The folder, whether it exists or not.

        Raises:
            VeneerError: If the name would lead out of the workspace.
        """
        return self.held(self.datasets / usable_name(name, "data set", self.datasets))

    def run(self, name: str) -> RunDir:
        """Folder of a run.

        Returns:
            The run folder, whether it exists or not.

        Raises:
            VeneerError: If the name would lead out of the workspace.
        """
        return RunDir(self.held(self.runs / usable_name(name, "run", self.runs)))

    def inside(self, text: str) -> Path:
        """A path that the user wrote, refused where it leads out of the workspace.

        Args:
            text: Absolute, or relative to the workspace.

        Returns:
            The path with every link resolved.

        Raises:
            VeneerError: If it lies outside.
        """
        if "\0" in text:
            raise VeneerError("not a path", where=text.replace("\0", "?"), todo="Write the name of a folder")
        return self.held(self.root / Path(text).expanduser()).resolve()

    def held(self, path: Path) -> Path:
        """Refuse a path that leads out of the workspace, links followed.

        Returns:
            The same path.

        Raises:
            VeneerError: If it lies outside.
        """
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise VeneerError(
                "the path is outside the workspace",
                where=str(path),
                todo=f"Copy the files to {self.root}, or drop them on the page",
            )
        return path

    @property
    def within(self) -> tuple[Path, ...]:
        """Where recipes may lead."""
        return (self.root, *self.also)

    def faults(self, recipe: Recipe) -> dict[str, str]:
        """What in a recipe leads out of the workspace.

        Returns:
            A sentence for each such key.
        """
        return {
            key: f"leads out of the workspace: {text}" for key, text in outside(recipe, self.within).items()
        }

    def usable(self, recipe: Recipe) -> Recipe:
        """Refuse a recipe that leads out of the workspace; whatever the page does by one asks here first.

        Args:
            recipe: A recipe, or one with some tables only.

        Returns:
            The same.

        Raises:
            RecipeError: If a key leads out, links followed.
        """
        faults = self.faults(recipe)
        if faults:
            raise RecipeError(
                "; ".join(f"`{key}` {fault}" for key, fault in faults.items()),
                todo=f"Copy the files to {self.root}, or start the studio with --allow PATH",
            )
        return recipe

    def spelled(self, path: Path) -> str:
        """How a path is written in a command that is given in the workspace.

        Returns:
            It, relative to the workspace, with forward slashes.
        """
        return path.relative_to(self.root).as_posix()

    def dataset_names(self) -> list[str]:
        """Names of the data sets, sorted."""
        return self._folders(self.datasets)

    def run_names(self) -> list[str]:
        """Names of the runs, the newest first."""
        recipes = {name: RunDir(self.runs / name).recipe_toml for name in self._folders(self.runs)}
        names = [name for name, recipe in recipes.items() if recipe.is_file()]
        return sorted(names, key=lambda name: -recipes[name].stat().st_mtime)

    def recipe_names(self) -> list[str]:
        """Names of the saved recipes, then of the bundled ones."""
        saved = sorted(path.stem for path in self.recipes.glob("*.toml") if is_plain(path.name))
        return [*saved, *(name for name in bundled_names() if name not in saved)]

    def recipe(self, name: str) -> str:
        """What `veneer run` is given for a recipe.

        Args:
            name: A saved or bundled name.

        Returns:
            The saved file, relative to the workspace, or the bundled name.

        Raises:
            VeneerError: If there is no such recipe.
        """
        path = self.held(self.recipes / usable_name(f"{(name or '').strip()}.toml", "recipe", self.recipes))
        if path.is_file():
            return self.spelled(path)
        if name in bundled_names():
            return name
        raise VeneerError("no such recipe", where=name, todo="Save it first, on the tab Recipe")

    def save_recipe(self, name: str, text: str) -> Path:
        """Save a recipe.

        Args:
            text: TOML.

        Returns:
            The file.

        Raises:
            VeneerError: If the name cannot be used, or is a bundled recipe's.
        """
        if name in bundled_names():
            raise VeneerError("a bundled recipe has this name", where=name, todo="Choose another name")
        path = self.held(self.recipes / f"{checked_name(name, 'recipe')}.toml")
        write_text(path, text)
        return path

    def _folders(self, folder: Path) -> list[str]:
        """Names of the folders in a folder; hidden ones, and links that lead outside, are left out.

        So are names that no page can show: they can be used in a shell only.
        """
        root = self.root.resolve()
        names = [path.name for path in folder.iterdir() if is_plain(path.name) and path.is_dir()]
        return sorted(name for name in names if (folder / name).resolve().is_relative_to(root))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second studio out.

        Yields:
            Nothing; the workspace is this process's inside the block.

        Raises:
            VeneerError: If another studio has it.
        """
        self.create()
        try:
            lock = filelock.FileLock(self.private / "lock").acquire(timeout=0)
        except filelock.Timeout as error:
            raise VeneerError(
                "another studio works on this workspace",
                where=str(self.root),
                todo="Use its page, stop it, or choose another folder with --workspace",
            ) from error
        with lock:
            yield


def checked_name(name: str, kind: str) -> str:
    """Check a name that becomes a folder or file of the workspace.

    Args:
        name: What the user wrote.
        kind: What it names, for the message.

    Returns:
        The name without spaces around it.

    Raises:
        VeneerError: If it is empty, too long, or holds anything but letters, digits, ``.``, ``-`` and ``_``.
    """
    name = normal_form(name or "").strip()
    if not name:
        raise VeneerError(f"the {kind} has no name", todo="Write or choose one")
    if not _NAME.fullmatch(name) or ".." in name or len(name) > 80 or name.lower() in _RESERVED:
        raise VeneerError(
            f"the name of a {kind} cannot be used",
            where=name[:80],
            todo="Use letters, digits, dots, dashes and underscores; begin with a letter or digit",
        )
    return name


def usable_name(name: str, kind: str, folder: Path) -> str:
    """Check a name that a page sent: a new one, or of what is there already, whatever a shell called it.

    Args:
        kind: What it names, for the message.

    Raises:
        VeneerError: If it is neither.
    """
    if is_plain(name or "") and (folder / name).exists():
        return name
    return checked_name(name, kind)


def is_plain(name: str) -> bool:
    """Whether a name is one of an entry of a folder that a page can show: no path, not hidden, printable.

    Args:
        name: Any text.
    """
    leads_nowhere = not name.startswith(".") and not set(name) & {"/", "\\"}
    return 0 < len(name) < 256 and leads_nowhere and name.isprintable()


def free_name(wish: str, taken: list[str]) -> str:
    """A name that is not taken.

    Args:
        wish: The name wanted.
        taken: Names in use.

    Returns:
        The wish, or the wish with the first free number.
    """
    if wish not in taken:
        return wish
    number = 2
    while f"{wish}-{number}" in taken:
        number += 1
    return f"{wish}-{number}"


def disk_use(folder: Path) -> int:
    """Bytes that a folder takes.

    Returns:
        Sum of its files' sizes; files that vanish meanwhile are left out.
    """
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() and not path.is_symlink() else 0
        except OSError:
            continue
    return total
