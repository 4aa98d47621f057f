"""Taggers: what a picture is turned into, which tags are taken, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx", reason="the tests make their taggers with onnx")
pytest.importorskip("onnxruntime", reason="taggers need ONNX Runtime: pip install 'veneer[tags]'")

from helpers.taggers import LIST, write_tagger
from veneer.captions.captioning import CaptionWork
from veneer.captions.records import CaptionRecord
from veneer.captions.tagger import load_tagger, prepared
from veneer.config import CaptionTable
from veneer.errors import CaptionerError
from veneer.events import ignore
from veneer.hubnames import is_tagger
from veneer.recipe import resolve
from veneer.records.dataset import Dataset
from veneer.unused_settings import unused_settings


def tags(folder: Path, picture: Image.Image, **settings: object) -> str:
    caption = CaptionTable.model_validate({"model": str(folder), **settings})
    return load_tagger(str(folder), caption).describe([picture])[0]


def coloured(colour: str, size: tuple[int, int] = (40, 40)) -> Image.Image:
    return Image.new("RGB", size, colour)


def test_a_picture_is_padded_white_and_blue_comes_first() -> None:
    found = prepared(coloured("red", (40, 20)), 40)
    assert found.shape == (1, 40, 40, 3)
    assert found.dtype == np.float32
    assert found[0, 20, 20].tolist() == [0.0, 0.0, 255.0]
    assert (found[0, :10] == 255).all() and (found[0, 30:] == 255).all()
    assert prepared(coloured("red"), 448).shape == (1, 448, 448, 3)


@pytest.mark.parametrize("batch", ["N", 1])
def test_tags_are_taken_by_category_and_threshold(tmp_path: Path, batch: str | int) -> None:
    folder = write_tagger(tmp_path / "tagger", batch=batch)
    assert tags(folder, coloured("red")) == "miss red (game), red colour, ^_^"
    assert tags(folder, coloured("blue")) == "blue colour, ^_^"  # no artists, no rating
    assert tags(folder, coloured("black"), tag_threshold=0.6) == ""
    assert tags(folder, coloured("black"), tag_rating=True) == "^_^, rating:general"
    dark = coloured("#340000")  # a fifth of red: the character at 0.86
    assert "miss red (game)" in tags(folder, dark)
    assert "miss red (game)" not in tags(folder, dark, character_threshold=0.9)


def test_several_pictures_are_tagged_each_for_itself(tmp_path: Path) -> None:
    folder = write_tagger(tmp_path / "tagger", batch=1)
    tagger = load_tagger(str(folder), CaptionTable(model=str(folder)))
    assert tagger.describe([coloured("blue"), coloured("lime")])[1].startswith("green colour")


def test_a_data_set_gets_tags_and_none_is_asked_for_twice(tmp_path: Path) -> None:
    folder = write_tagger(tmp_path / "tagger", side_px=64)
    (tmp_path / "set" / "images").mkdir(parents=True)
    names = [f"images/{colour}.png" for colour in ("red", "blue")]
    for name in names:
        coloured(Path(name).stem).save(tmp_path / "set" / name)
    records: dict[str, CaptionRecord] = {}
    caption = CaptionTable(model=str(folder), trigger="my style")
    CaptionWork(Dataset(tmp_path / "set"), caption, None, None, ignore).describe_all(names, records)
    assert records[names[0]].caption == "my style, miss red (game), red colour, ^_^"
    assert [record.faults for record in records.values()] == [(), ()]  # red, red, red: no loop
    assert [record.attempts for record in records.values()] == [1, 1]


def test_names_of_taggers(tmp_path: Path) -> None:
    assert is_tagger("SmilingWolf/wd-eva02-large-tagger-v3")
    assert is_tagger("someone/wd-v1-4-vit-tagger-v2@main")
    assert is_tagger(str(write_tagger(tmp_path / "own")))
    assert not any(
        map(is_tagger, ("pocket", "none", "Salesforce/blip-image-captioning-large", str(tmp_path)))
    )
    idle = resolve({"caption": {"model": "pocket", "tag_threshold": 0.5}})
    assert "caption.tag_threshold" in [one.key for one in unused_settings(idle)]


BROKEN = {
    "another number of tags": (
        {"listed": LIST.rsplit("\n", 2)[0] + "\n"},
        "says 8 things, and its list has 7",
    ),
    "no columns": ({"listed": "a,b\n1,2\n"}, "no columns name and category"),
    "an empty list": ({"listed": "name,category\n"}, "has no tags"),
    "a name that steers": ({"listed": LIST.replace("somebody", "\x1b[2J")}, "some that are none"),
    "a huge picture": ({"side_px": 4096}, "not one picture"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_tagger_is_refused(tmp_path: Path, case: str) -> None:
    settings, reason = BROKEN[case]
    folder = write_tagger(tmp_path / "tagger", **settings)  # type: ignore[arg-type]
    with pytest.raises(CaptionerError, match=reason):
        load_tagger(str(folder), CaptionTable())


def test_damaged_missing_and_huge_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tagger(tmp_path / "tagger")
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:40])
    with pytest.raises(CaptionerError, match="cannot be used"):
        load_tagger(str(folder), CaptionTable())
    monkeypatch.setattr("veneer.captions.tagger.LARGEST_MODEL", 10)
    with pytest.raises(CaptionerError, match="has more than"):
        load_tagger(str(folder), CaptionTable())
    (folder / "selected_tags.csv").unlink()
    with pytest.raises(CaptionerError, match="no such file"):
        load_tagger(str(folder), CaptionTable())


def write_graph(folder: Path, made: Sequence[Any], given: int, said: Any) -> Path:
    """A tagger of any graph from ``picture`` to ``tags``, and the usual list."""
    from onnx import helper

    write_tagger(folder)
    picture = helper.make_tensor_value_info("picture", given, [1, 32, 32, 3])
    graph = helper.make_graph(list(made), "tagger", [picture], [said])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


@pytest.mark.parametrize("kind", ["FLOAT16", "DOUBLE", "INT32", "UINT8", "STRING", "nan", "inf", "list", "7"])
def test_models_that_take_or_say_something_else_are_refused(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each ended the command as an unexpected fault, or, of no number, was told of no tag."""
    from onnx import TensorProto, helper

    count = LIST.count("\n") - 1
    said = helper.make_tensor_value_info("tags", TensorProto.FLOAT, [1, count])
    given, value = TensorProto.FLOAT, helper.make_tensor("v", TensorProto.FLOAT, [1, count], [0.5] * count)
    if kind == "STRING":
        value = helper.make_tensor("v", TensorProto.STRING, [1, count], [b"x"] * count)  # type: ignore[list-item]
        said = helper.make_tensor_value_info("tags", TensorProto.STRING, [1, count])
    elif kind in {"nan", "inf"}:
        value = helper.make_tensor("v", TensorProto.FLOAT, [1, count], [float(kind)] * count)
    elif kind not in {"list", "7"}:
        given = getattr(TensorProto, kind)
    made = [helper.make_node("Constant", [], ["tags"], value=value)]
    if kind == "list":
        made = [helper.make_node("SequenceConstruct", ["picture"], ["tags"])]
        said = helper.make_tensor_sequence_value_info("tags", TensorProto.FLOAT, None)
    elif kind == "7":  # numbers, where a shape of as many as the list has is promised
        shape = helper.make_tensor("s", TensorProto.INT64, [2], [7, -1])
        made = [
            helper.make_node("Constant", [], ["shape"], value=shape),
            helper.make_node("Reshape", ["picture", "shape"], ["tags"]),
        ]
    folder = write_graph(tmp_path / "tagger", made, given, said)
    with pytest.raises(CaptionerError, match="the tagger cannot be used"):
        tags(folder, coloured("red"))
    assert capfd.readouterr() == ("", "")


def test_a_damaged_model_is_told_of_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime printed the fault by itself, and tried again."""
    folder = write_tagger(tmp_path / "tagger")
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes().replace(b"ReduceMean", b"\xf5educeMean"))
    with pytest.raises(CaptionerError, match="cannot be used"):
        load_tagger(str(folder), CaptionTable())
    assert capfd.readouterr() == ("", "")


def test_weights_in_other_files_are_not_read(tmp_path: Path) -> None:
    import onnx

    folder = write_tagger(tmp_path / "tagger")
    model = onnx.load(str(folder / "model.onnx"))
    onnx.save(
        model, str(folder / "model.onnx"), save_as_external_data=True, size_threshold=0, location="beside.bin"
    )
    with pytest.raises(CaptionerError, match="cannot be used"):
        load_tagger(str(folder), CaptionTable())


def test_without_onnx_runtime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("veneer.captions.tagger.find_spec", lambda name: None)
    with pytest.raises(CaptionerError, match="not installed") as refused:
        load_tagger(str(tmp_path), CaptionTable())
    assert "veneer[tags]" in refused.value.todo
