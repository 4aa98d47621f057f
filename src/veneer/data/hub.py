"""Data sets of the Hugging Face hub as a source: the bytes of their pictures, and nothing that they name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub.constants import HF_HUB_CACHE

from veneer.data.sources import Found, is_picture_name
from veneer.data.websources import Web, address_column, scratch_file
from veneer.errors import DatasetError, NetworkError
from veneer.records.metadata import OTHERS_KEY, caption_column, captions_in

NO_PICTURE = "the data set names a file and holds no picture"
_PICTURE_COLUMNS = ("image", "img", "picture", "jpg", "png")
_HUB = "hf://datasets/"


def hub_pictures(source: str, limit: int | None, web: Web) -> Iterator[Found]:
    """Find the pictures of a Hugging Face data set, on the hub or in a local folder.

    Only the picture's own column is read, as bytes: a set may name any file of this machine, or any address,
    and `datasets` would open it.

    Args:
        source: ``hf:NAME``, with ``;split=``, ``;config=``, ``;image=`` or ``;caption=`` if needed.
        limit: With a limit the set is streamed instead of fetched whole.
        web: What is needed.

    Yields:
        The pictures; a set of addresses yields pictures not fetched yet.

    Raises:
        NetworkError: If the data set cannot be had.
        DatasetError: If it has no column of pictures or addresses, or reads files of this machine.
    """
    name, options = hub_options(source)
    try:
        yield from _pictures(source, name, options, limit, web)
    except (DatasetError, NetworkError, MemoryError, GeneratorExit):
        raise
    except Exception as error:  # a stranger's set makes libraries raise any kind
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        raise NetworkError(
            f"the data set cannot be had: {reason}",
            where=source,
            todo="Check its name, split and config (hf:NAME;split=train;config=...), and the connection",
        ) from error


def hub_options(source: str) -> tuple[str, dict[str, str]]:
    """Read the name of a data set and its options.

    Args:
        source: Such as ``hf:someone/houses;split=test``.

    Returns:
        The name, and options by key.

    Raises:
        DatasetError: If there is no name, or an option is unknown.
    """
    name, *rest = source.removeprefix("hf:").split(";")
    if not name.strip():
        raise DatasetError("no data set is named", where=source, todo="Write hf:NAME")
    pairs = (entry.partition("=") for entry in rest)
    options = {key.strip(): value.strip() for key, _, value in pairs}
    unknown = sorted(set(options) - {"split", "config", "image", "caption"})
    if unknown:
        raise DatasetError(
            f"no such option: {', '.join(unknown)}",
            where=source,
            todo="Options are split, config, image, caption",
        )
    return name.strip(), options


def refuse_wrong_options(sources: Sequence[str]) -> None:
    """Refuse names and options of data sets that are not understood, before anything is fetched.

    Raises:
        DatasetError: For the first one.
    """
    for source in sources:
        if source.startswith("hf:"):
            hub_options(source)
            _library()


def _library() -> Any:
    """Hugging Face's `datasets`, which nothing but these sources needs."""
    try:
        import datasets
    except ImportError as error:
        raise DatasetError(
            "data sets of the hub need the extra `hub`",
            where="hf:",
            todo="Install it with `pip install 'veneer[hub]'`",
        ) from error
    return datasets


def _pictures(
    source: str, name: str, options: Mapping[str, str], limit: int | None, web: Web
) -> Iterator[Found]:
    rows = _load_rows(source, name, options, streaming=limit is not None and not Path(name).exists())
    features = dict(rows.features or {})
    picture = options.get("image") or next((c for c in _PICTURE_COLUMNS if c in features), None)
    address = address_column(list(features))
    caption = options.get("caption") or caption_column(list(features))
    for named in (picture, caption):
        if named is not None and named not in features:
            raise _no_column(source, features, f"no column {named}")
    if picture is None and address is None:
        raise _no_column(source, features, "the data set has no column of pictures")
    wanted = {picture or address, caption}
    rows = rows.select_columns(
        [key for key, kind in features.items() if key in wanted or _is_plain_kind(kind)]
    )
    if picture is not None:
        rows = rows.cast_column(picture, _library().Image(decode=False))
    for number, row in enumerate(rows):
        texts = (captions_in(row[caption]) or ()) if caption else ()
        extra: dict[str, Any] = {
            k: str(v) for k, v in row.items() if k not in {caption, address} and _is_plain(v)
        }
        if len(texts) > 1:
            extra[OTHERS_KEY] = list(texts[1:])
        facts = {"source": source, "licence": rows.info.license or "", "extra": extra}
        text = texts[0] if texts else ""
        if picture is None:
            yield Found(str(row[address]), caption=text, facts=facts)
        else:
            found = Found(f"{source}#{number}", caption=text, facts=facts)
            yield _picture(name, found, row[picture], web)


def _no_column(source: str, columns: Iterable[str], what: str) -> DatasetError:
    todo = f"Its columns are {', '.join(columns)}; name one with ;image=COLUMN or ;caption=COLUMN"
    return DatasetError(what, where=source, todo=todo)


def _is_plain_kind(feature: Any) -> bool:
    return isinstance(feature, _library().Value) and feature.dtype not in {"binary", "large_binary"}


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and value != ""


def _picture(name: str, found: Found, picture: Any, web: Web) -> Found:
    held: Mapping[str, Any] = picture if isinstance(picture, Mapping) else {}
    content, path = held.get("bytes"), str(held.get("path") or "")
    found = replace(found, facts={**found.facts, "name": os.path.basename(path)})  # noqa: PTH119 - or an address
    if isinstance(content, bytes):
        target = scratch_file(web.scratch, found.origin, Path(path).suffix)
        target.write_bytes(content)
        return replace(found, path=target, temporary=True)
    if path.startswith(("http://", "https://")):
        return replace(found, origin=path)
    if path and _is_of_the_set(name, path):
        return replace(found, path=Path(path))
    return replace(found, fault=NO_PICTURE)


def _is_of_the_set(name: str, path: str) -> bool:
    """Whether a file came with the data set: from the folder that was named, or fetched for it."""
    if not _is_named_in(name, path):
        return False
    return any(Path(path).resolve().is_relative_to(root.resolve()) for root in _folders_of(name))


def _is_named_in(name: str, path: str) -> bool:
    """Whether a path is one within the data set, wherever a link leads."""
    if "\0" in path or "://" in path:
        return False
    place = Path(os.path.abspath(path))  # noqa: PTH100 - links are looked at apart
    return any(place.is_relative_to(root) for root in _folders_of(name))


def _folders_of(name: str) -> list[Path]:
    own = Path(name).expanduser()
    if own.exists():
        return [Path(os.path.abspath(own if own.is_dir() else own.parent)), own.resolve()]  # noqa: PTH100
    fetched = Path(HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}"
    return [fetched, Path(_library().config.EXTRACTED_DATASETS_PATH)]


def _load_rows(source: str, name: str, options: Mapping[str, str], *, streaming: bool) -> Any:
    config, split = options.get("config"), options.get("split", "train")
    builder = _library().load_dataset_builder(name, config)
    _refuse_files_elsewhere(source, name, builder)
    return _library().load_dataset(name, config, split=split, streaming=streaming)


def _refuse_files_elsewhere(source: str, name: str, builder: Any) -> None:
    """A set's own description may have it read any file, or any address."""
    files = getattr(builder.config, "data_files", None) or {}
    repository = getattr(builder, "repo_id", None) or name
    for file in (str(file) for files_of_split in files.values() for file in files_of_split):
        is_own = file.startswith(f"{_HUB}{repository}@") or _is_of_the_set(name, file)
        is_a_picture = is_picture_name(file) and _is_named_in(name, file)  # each is looked at later
        if not is_own and not is_a_picture:
            raise DatasetError(
                f"the data set reads a file that is not its own: {file[:200]}",
                where=source,
                todo="Ask whoever made it",
            )
