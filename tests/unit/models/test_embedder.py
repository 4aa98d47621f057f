from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from veneer.errors import NetworkError, VeneerError
from veneer.hubnames import CLIP, DINO
from veneer.models import embedder


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dino")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config = Dinov2Config(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
        )
        Dinov2Model(config).save_pretrained(folder)
    size = {"height": 28, "width": 28}
    BitImageProcessorPil(size={"shortest_edge": 28}, crop_size=size).save_pretrained(folder)
    return folder


def test_clip_gives_unit_rows_for_pictures_and_texts(clip_folder: Path, picture_folder: Path) -> None:
    clip = embedder.load_embedder(str(clip_folder))
    files = sorted(picture_folder.iterdir())
    pictures, texts = clip.image_features(files), clip.text_features(["a city", "a dog " * 200])
    assert pictures.shape == (12, 16)
    assert texts.shape == (2, 16)
    assert np.linalg.norm(np.vstack([pictures, texts]), axis=1) == pytest.approx(1)


def test_files_and_pictures_and_batches_give_the_same(
    clip_folder: Path, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = embedder.load_embedder(str(clip_folder))
    files = sorted(picture_folder.iterdir())
    whole = clip.image_features(files)
    monkeypatch.setattr(embedder, "EMBED_BATCH_SIZE", 5)
    assert clip.image_features([Image.open(f) for f in files]) == pytest.approx(whole, abs=1e-6)


def test_dino_reads_no_text(dino_folder: Path, picture_folder: Path) -> None:
    dino = embedder.load_embedder(str(dino_folder))
    assert dino.image_features(sorted(picture_folder.iterdir())[:3]).shape == (3, 16)
    assert dino.text_features(["a city"]) is None


def test_one_of_each_kind_by_two_names(clip_folder: Path, dino_folder: Path) -> None:
    both = embedder.choose_embedders(f"{dino_folder},{clip_folder}", "pocket")
    assert both.pictures is both.clip
    with pytest.raises(VeneerError, match="two embedders"):
        embedder.choose_embedders(f"{clip_folder},{clip_folder}", "pocket")


def test_auto_takes_the_bundled_one_for_the_bundled_base(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, device: Any, *, revision: str | None) -> embedder.Embedder:
        asked.append(name)
        return embedder.Embedder(name, None, None, None if "dino" in name else 1, device)

    monkeypatch.setattr(embedder, "load_embedder", load)
    embedder.choose_embedders("auto", "pocket")
    embedder.choose_embedders("auto", "some/base")
    assert asked == ["pocket", CLIP, DINO]


def test_offline_says_what_to_do() -> None:
    with pytest.raises(NetworkError, match=r"compare\.embedder=pocket"):
        embedder.load_embedder(CLIP)


def test_another_kind_of_model_is_refused(blip_folder: Path) -> None:
    with pytest.raises(VeneerError, match="blip model measures no likeness"):
        embedder.load_embedder(str(blip_folder))


def test_features_are_whole_float32_and_the_switches_stay(
    clip_folder: Path, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    clip = embedder.load_embedder(str(clip_folder))
    switches: tuple[Any, ...] = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    seen = []
    for name in ("get_image_features", "get_text_features"):
        original = getattr(clip.model, name)

        def look(original: Any = original, **inputs: Any) -> Any:
            seen.append([switch.allow_tf32 for switch in switches])
            return original(**inputs)

        monkeypatch.setattr(clip.model, name, look)
    try:
        for switch in switches:
            switch.allow_tf32 = True
        clip.image_features(sorted(picture_folder.iterdir()))
        clip.text_features(["a city"])
        assert [switch.allow_tf32 for switch in switches] == [True, True]
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value
    assert seen == [[False, False]] * 2
