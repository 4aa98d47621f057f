"""Which picture a name in the metadata means, where it is not spelled as the file is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from veneer.text import normal_form


def assign(names: Collection[str], pictures: Iterable[str], folder: Path) -> dict[str, str]:
    """Find the picture that each name means.

    A name that is spelled otherwise, in another case or with the folder's own name before it, is understood
    where it fits one picture alone, which no other name means.

    Args:
        names: Names as the metadata has them.
        pictures: File names of pictures, with forward slashes.
    """
    exact = {normal_form(picture): picture for picture in pictures}
    found = {name: exact[form] for name in names if (form := normal_form(name)) in exact}
    if len(found) == len(names):
        return found
    taken = set(found.values())
    near = alike([name for name in names if name not in found], exact.values(), folder)
    loose = {name: one[0] for name, one in near.items() if len(one) == 1 and one[0] not in taken}
    wanted = Counter(loose.values())
    return found | {name: picture for name, picture in loose.items() if wanted[picture] == 1}


def alike(names: Iterable[str], pictures: Iterable[str], folder: Path) -> Mapping[str, list[str]]:
    """Find pictures that differ from a name only in the case of letters, or in the folder before it.

    Args:
        names: Names that are spelled as no picture.
        pictures: File names of pictures.

    Returns:
        For each name that is like some, which.
    """
    loose: defaultdict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        loose[_loosely(picture)].append(picture)
    whole = folder.resolve()
    found = {}
    for name in names:
        within = name.removeprefix(f"{whole.as_posix()}/").removeprefix(f"{whole.name}/")
        near = loose.get(_loosely(name)) or loose.get(_loosely(within))
        if near:
            found[name] = near
    return found


def _loosely(name: str) -> str:
    return normal_form(name).casefold()
