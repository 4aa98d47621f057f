"""Finding a model's files: what is refused, and what the messages say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import errors as hub_errors

from veneer.errors import BaseModelError
from veneer.models import modelfiles
from veneer.models.modelfiles import find_model, looks_like_path
from veneer.records.files import hash_file


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "model.pt"])
def test_a_pickle_is_refused_with_the_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(BaseModelError, match=r"pickle can run code.*safe_serialization"):
        find_model(str(tmp_path / name))


def test_pickled_parts_of_a_folder_are_refused(base_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base_folder, tmp_path / "base")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(BaseModelError, match=r"pickle can run code.*diffusion_pytorch_model\.bin"):
        modelfiles.weights_of(folder / "unet", "unet")


def test_no_such_path() -> None:
    with pytest.raises(BaseModelError, match=r"no such base model \(\./nowhere\)\. Give an existing folder"):
        find_model("./nowhere")


def test_not_on_this_machine_and_offline() -> None:
    with pytest.raises(BaseModelError, match=r"HF_HUB_OFFLINE is set \(nobody/nothing\)\. Go online once"):
        find_model("nobody/nothing", parts=("unet",))


def test_the_old_hub_name_is_replaced_with_a_notice() -> None:
    events: list[Any] = []
    with pytest.raises(BaseModelError, match="stable-diffusion-v1-5/stable-diffusion-v1-5"):
        find_model("runwayml/stable-diffusion-v1-5", on_event=events.append)
    assert [event.code for event in events] == ["base-renamed"]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (hub_errors.GatedRepoError, "licence to be accepted.*hf auth login"),
        (hub_errors.RepositoryNotFoundError, "no such base model on the hub"),
        (hub_errors.RevisionNotFoundError, "no such revision"),
    ],
)
def test_what_the_hub_refuses(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[..., Exception], message: str
) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        request = httpx.Request("GET", "https://example.invalid")
        raise kind("refused", response=httpx.Response(404, request=request))

    monkeypatch.setattr(modelfiles, "snapshot_download", refuse)
    with pytest.raises(BaseModelError, match=message):
        find_model("somebody/something", revision="v1")


def test_a_hub_repository_is_named_by_its_commit(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(base_folder)

    monkeypatch.setattr(modelfiles, "snapshot_download", download)
    files = find_model("somebody/something", parts=("unet", "tokenizer"))
    assert (files.path, files.commit) == (base_folder, base_folder.name)
    assert "unet/diffusion_pytorch_model.safetensors" in asked[0]
    assert not any(pattern.startswith(("vae/diff", "safety")) or ".bin" in pattern for pattern in asked[0])
    assert modelfiles.identity_of_files(files, ()) == f"somebody/something@{base_folder.name}"


@pytest.mark.parametrize(
    ("name", "is_path"),
    [
        ("a/b", False),
        ("./a", True),
        ("/a/b", True),
        ("a/b/c", True),
        ("m.safetensors", True),
        ("plain", True),
    ],
)
def test_paths_and_hub_names(name: str, is_path: bool) -> None:
    assert looks_like_path(name) is is_path


class TestPocket:
    @pytest.fixture
    def pocket(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "pocket"
        (folder / "unet").mkdir(parents=True)
        weights = folder / "unet" / "w.safetensors"
        weights.write_bytes(b"weights")
        (folder / "checksums.json").write_text(json.dumps({"unet/w.safetensors": hash_file(weights)}))
        monkeypatch.setattr(resources, "files", lambda _: tmp_path)
        return folder

    def test_whole(self, pocket: Path) -> None:
        assert find_model("pocket").path == pocket

    def test_damaged_file_is_named(self, pocket: Path) -> None:
        (pocket / "unet" / "w.safetensors").write_bytes(b"weighty")
        with pytest.raises(BaseModelError, match=r"is damaged \(.*w\.safetensors\)\. Restore it with"):
            find_model("pocket")

    def test_missing_file_is_named(self, pocket: Path) -> None:
        (pocket / "unet" / "w.safetensors").unlink()
        with pytest.raises(BaseModelError, match=r"is missing \(.*w\.safetensors\)\. Restore it with"):
            find_model("pocket")

    def test_no_pocket_at_all(self, pocket: Path) -> None:
        (pocket / "checksums.json").unlink()
        with pytest.raises(BaseModelError, match="is not there"):
            find_model("pocket")
