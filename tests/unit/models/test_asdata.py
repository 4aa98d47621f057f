import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import veneer
from veneer.captions.captioner import load_captioner
from veneer.data.safety import unsafe_pictures
from veneer.errors import VeneerError
from veneer.models.embedder import load_embedder

SOURCES = sorted(Path(veneer.__file__).parent.rglob("*.py"))
LOADERS: dict[str, Callable[[str], object]] = {
    "captioner": load_captioner,
    "embedder": load_embedder,
    "checker": lambda folder: unsafe_pictures(Path(folder), [], folder),
}


def test_whatever_transformers_finds_by_name_is_loaded_as_data() -> None:
    calls = [
        (path.name, ast.unparse(node))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(".from_pretrained")
        and ast.unparse(node.func).startswith(("Auto", "loader"))
    ]
    assert len(calls) >= 10
    bare = [call for call in calls if "asdata." not in call[1] and "**settings" not in call[1]]
    assert bare == []


@pytest.mark.parametrize("kind", LOADERS)
def test_a_model_with_code_of_its_own_is_refused_by_name(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = ("AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoModelForImageClassification")
    config = {"model_type": "evil", "auto_map": {name: f"evil.{name}" for name in classes}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(VeneerError, match="code of its own, which is never run") as error:
        LOADERS[kind](str(tmp_path))
    assert str(tmp_path) in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_refused(tmp_path: Path, blip_folder: Path, clip_folder: Path) -> None:
    import shutil

    import torch

    for folder, load in ((blip_folder, LOADERS["captioner"]), (clip_folder, LOADERS["embedder"])):
        copy = tmp_path / folder.name
        shutil.copytree(folder, copy)
        for file in copy.glob("*.safetensors"):
            file.unlink()
        torch.save({}, copy / "pytorch_model.bin")
        with pytest.raises(VeneerError, match="no safetensors weights"):
            load(str(copy))
