import io
import json
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from veneer.data.hub import NO_PICTURE, hub_options, hub_pictures, refuse_wrong_options
from veneer.data.sources import Found
from veneer.data.websources import Web
from veneer.errors import DatasetError, NetworkError
from veneer.events import ignore


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def found(tmp_path: Path, source: str, limit: int | None = None) -> list[Found]:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    web: Any = Web(None, scratch, tmp_path, ignore)
    return list(hub_pictures(source, limit, web))


def parquet(tmp_path: Path, rows: dict[str, list[Any]], **kinds: Any) -> str:
    folder = tmp_path / "set"
    folder.mkdir()
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string"), **kinds})
    pq.write_table(pa.table(rows, schema=features.arrow_schema), folder / "train.parquet")
    return f"hf:{folder}"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_a_file_that_a_set_names_is_not_opened(tmp_path: Path) -> None:
    secret = tmp_path / "id_rsa"
    secret.write_bytes(png("red"))
    pictures: list[Any] = [
        {"bytes": None, "path": str(path)} for path in (secret, "/etc/passwd", "~/.ssh/id_rsa", "")
    ]
    source = parquet(
        tmp_path, {"image": [*pictures, {"bytes": png("blue"), "path": None}], "text": ["x"] * 5}
    )
    some = found(tmp_path, source)
    assert [one.fault for one in some] == [NO_PICTURE] * 4 + [""]
    assert [one.path is None for one in some] == [True] * 4 + [False]


def test_the_pictures_of_a_named_folder_are_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (tmp_path / "outside.png").write_bytes(png("red"))
    (folder / "a.png").write_bytes(png("blue"))
    (folder / "b.png").symlink_to(tmp_path / "outside.png")
    assert [bool(one.path) for one in found(tmp_path, f"hf:{folder}")] == [True, False]


def test_a_second_column_of_pictures_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def decode(self: object, value: Any, *_: object, **__: object) -> None:
        opened.append(value)
        raise OSError("reached the network")

    monkeypatch.setattr(datasets.Image, "decode_example", decode)
    other = {"bytes": None, "path": "http://169.254.169.254/latest"}
    source = parquet(
        tmp_path,
        {"image": [{"bytes": png("blue"), "path": None}], "text": ["x"], "mask": [other], "many": [[other]]},
        mask=datasets.Image(),
        many=datasets.List(datasets.Image()),
    )
    assert [one.caption for one in found(tmp_path, source)] == ["x"]
    assert opened == []


def test_several_captions_give_the_first_and_keep_the_others(tmp_path: Path) -> None:
    source = parquet(
        tmp_path,
        {"image": [{"bytes": png("blue"), "path": None}], "text": [""], "captions": [["one", "two"]]},
        captions=datasets.List(datasets.Value("string")),
    )
    one = found(tmp_path, f"{source};caption=captions")[0]
    assert (one.caption, one.facts["extra"]["other_captions"]) == ("one", ["two"])


@pytest.mark.parametrize("file", ["/etc/passwd", "../outside.csv", "http://169.254.169.254/x.csv"])
def test_a_description_cannot_have_other_files_read(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (tmp_path / "outside.csv").write_text("image,text\na,b\n")
    (folder / "a.csv").write_text("image,text\na,b\n")
    configs = json.dumps([{"config_name": "default", "data_files": [{"split": "train", "path": file}]}])
    (folder / "README.md").write_text(f"---\nconfigs: {configs}\n---\n")
    with pytest.raises((DatasetError, NetworkError)):
        found(tmp_path, f"hf:{folder}")


@pytest.mark.parametrize("source", ["hf:", "hf: ", "hf:;split=x"])
def test_a_set_without_a_name_is_refused(source: str) -> None:
    with pytest.raises(DatasetError, match="no data set is named"):
        hub_options(source)


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), TypeError("y"), OSError("z")])
def test_whatever_a_library_raises_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset_builder", broken)
    with pytest.raises(NetworkError, match="the data set cannot be had"):
        found(tmp_path, "hf:someone/set")


def test_the_hub_without_its_library_names_the_extra_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    refuse_wrong_options(["pocket", "urls:list.txt"])
    with pytest.raises(DatasetError, match=r"extra `hub`.*pip install 'veneer\[hub\]'"):
        refuse_wrong_options(["hf:someone/pictures"])
