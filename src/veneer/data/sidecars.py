"""Captions that lie beside pictures in a folder: metadata.csv, metadata.jsonl, a text file per picture."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath

from veneer.records.dataset import Dataset, Item, mismatch_error
from veneer.text import normal_form, read_text_any

CAPTION_SUFFIXES = (".txt", ".caption")
_METADATA = ("metadata.csv", "metadata.jsonl")


def folder_captions(root: Path, pictures: Collection[str]) -> Mapping[str, Item]:
    """Read every caption that a folder holds for its pictures.

    An entry in a metadata file comes before a text file of the same picture.

    Args:
        root: The folder.
        pictures: File names of its pictures, relative to it, with forward slashes.

    Returns:
        Captions and extra columns by the names in ``pictures``; pictures without any are left out.

    Raises:
        DatasetError: If a metadata file cannot be read, or names pictures that do not exist.
    """
    by_form = {normal_form(name): name for name in pictures}
    captions = {name: Item(name, text) for name in pictures if (text := text_beside(root / name))}
    for folder in sorted({str(PurePosixPath(name).parent) for name in pictures} | {"."}):
        captions |= _metadata_captions(root, folder, by_form)
    return captions


def stray_caption_files(files: Iterable[str], pictures: Collection[str]) -> list[str]:
    """Find caption files that belong to no picture.

    Args:
        files: All file names of a folder, with forward slashes.
        pictures: Those of the pictures.

    Returns:
        Text files whose picture is missing, sorted; none where no text file has a picture at all.
    """
    stems = {str(PurePosixPath(name).with_suffix("")) for name in pictures}
    texts = [name for name in files if PurePosixPath(name).suffix.lower() in CAPTION_SUFFIXES]
    strays = [name for name in texts if str(PurePosixPath(name).with_suffix("")) not in stems]
    return sorted(strays) if len(strays) < len(texts) else []


def text_beside(picture: Path) -> str:
    """Read the text file that lies beside a picture.

    Args:
        picture: The picture.

    Returns:
        Its caption in one line; empty where there is no such file.
    """
    for suffix in CAPTION_SUFFIXES:
        path = picture.with_suffix(suffix)
        if path.is_file():
            return " ".join(read_text_any(path).split())
    return ""


def _metadata_captions(root: Path, folder: str, by_form: Mapping[str, str]) -> dict[str, Item]:
    place = root / folder
    if not any((place / name).is_file() for name in _METADATA):
        return {}
    found: dict[str, Item] = {}
    missing = []
    for item in Dataset(place).read_metadata():
        name = item.file_name if folder == "." else f"{folder}/{item.file_name}"
        known = by_form.get(normal_form(name))
        if known is None:
            missing.append(name)
        else:
            found[known] = Item(known, item.caption, item.extra)
    if missing:
        here = [name for name in by_form.values() if PurePosixPath(name).is_relative_to(folder)]
        raise mismatch_error(place, place, missing, sorted(set(here) - set(found)))
    return found
