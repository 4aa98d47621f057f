"""What is asked of a captioner, and what becomes of its words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import captioners
from helpers.captioning import GOOD, Scripted, caption_set, captions
from helpers.tiny import tiny_pictures
from veneer.captions.captioner import AGAIN, FIRST, Captioner, load_captioner
from veneer.cli import exit_status
from veneer.data.picture import load_picture
from veneer.errors import CaptionerError, DatasetError
from veneer.records.dataset import Dataset
from veneer.stages.caption import caption
from veneer.stages.collect import collect


def test_a_real_captioner_writes_metadata_that_hugging_face_reads(
    dataset: Dataset, blip_folder: Path, tmp_path: Path
) -> None:
    import datasets

    result, _ = caption_set(dataset, table={"model": str(blip_folder), "prefix": "picture of"})
    assert result.generated == 6
    assert all(text.startswith("picture of ") for text in captions(dataset))
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(dataset.root), split="train", cache_dir=str(tmp_path / "c")
    )
    assert loaded["caption"] == captions(dataset)
    again, _ = caption_set(dataset, table={"model": str(blip_folder), "prefix": "picture of"})
    assert (again.generated, again.kept) == (0, 6)


def test_a_batch_gives_what_single_pictures_give(blip_folder: Path, picture_folder: Path) -> None:
    captioner = load_captioner(str(blip_folder))
    assert isinstance(captioner, Captioner)
    pictures = [load_picture(path) for path in sorted(picture_folder.glob("*.png"))[:4]]
    assert captioner.describe(pictures) == [captioner.describe([picture])[0] for picture in pictures]


def test_faults_are_asked_again_once_and_the_better_one_kept(
    dataset: Dataset, script: Callable[..., Scripted]
) -> None:
    first = ["a bald bald bald man", "araffe in a field", "", *GOOD[3:]]
    captioner = script(first, ["a bald man", "arafed thing thing thing", ""])
    result, notices = caption_set(dataset)
    assert captioner.asked == [(6, FIRST), (3, AGAIN)]
    assert captions(dataset)[:3] == ["a bald man", "araffe in a field", ""]
    assert result.asked_again == 3
    assert result.faults == {"artefact": 1, "empty": 1}
    assert {notice.code for notice in notices} == {"caption-artefact", "caption-empty"}
    assert "images/000002.png" in next(n.message for n in notices if n.code == "caption-artefact")


class Meaning:
    """A CLIP that knows for each picture of the set, by its place, what fits it."""

    tokenizer = None

    def __init__(self, fitting: set[str]) -> None:
        self.fitting = fitting

    def image_features(self, pictures: list[Path]) -> np.ndarray:
        return np.eye(len(pictures))

    def text_features(self, texts: list[str]) -> np.ndarray:
        rows = np.full((len(texts), len(texts)), 0.5)
        for place, text in enumerate(texts):
            rows[place, place] = 1.0 if text in self.fitting else 0.1
        return rows


def test_a_caption_that_fits_badly_is_asked_again_and_held_against_the_whole_set(
    tmp_path: Path, script: Callable[..., Scripted]
) -> None:
    collect([str(tiny_pictures(tmp_path / "source", 12))], tmp_path / "set")
    words = ("red", "blue", "old", "new", "big", "tall", "dark", "light", "soft", "hard", "cold", "warm")
    first = [f"{word} thing" for word in words]
    captioner = script(first, ["a sleeping dog", "some noise"])
    fitting = {*first, "a sleeping dog"} - {first[2], first[7]}
    result, notices = caption_set(Dataset(tmp_path / "set"), embedder=Meaning(fitting))
    assert captioner.asked[-1] == (2, AGAIN)
    assert captions(Dataset(tmp_path / "set")) == [*first[:2], "a sleeping dog", *first[3:]]
    assert result.faults == {"low-agreement": 1}
    assert "images/000008.png" in next(n.message for n in notices if n.code == "caption-low-agreement")


def test_captions_that_many_share_are_asked_again(dataset: Dataset, script: Callable[..., Scripted]) -> None:
    script(["a house"] * 4 + GOOD[4:], ["a red house", "a tall tower", "the houses", "a hut"])
    result, _ = caption_set(dataset)
    assert captions(dataset) == ["a red house", "a tall tower", "the houses", "a hut", *GOOD[4:]]
    assert result.faults == {}


def test_names_serve_as_captions(dataset: Dataset) -> None:
    source = dataset.root.parent / "source"
    for old, new in (("picture-000", "red_house-1"), ("picture-001", "IMG_0001")):
        (source / f"{old}.png").rename(source / f"{new}.png")
    collect([str(source)], dataset.root.parent / "named")
    named = Dataset(dataset.root.parent / "named")
    result, _ = caption_set(named, table={"model": "none", "trigger": "vnr"})
    assert "vnr, red house" in captions(named)
    assert result.generated == 6


def test_an_unreadable_picture_is_told_and_the_others_captioned(
    dataset: Dataset, script: Callable[..., Scripted]
) -> None:
    (dataset.root / "images" / "000003.png").write_bytes(b"broken")
    script(GOOD)
    _, notices = caption_set(dataset)
    assert captions(dataset)[2] == ""
    assert [c for c in captions(dataset) if c] == GOOD[:5]
    assert "images/000003.png" in next(n.message for n in notices if n.code == "picture-unreadable")


def test_low_agreement_is_flagged_by_an_embedder(tmp_path: Path) -> None:
    from veneer.captions.agreement import low_agreement

    class Fake:
        def image_features(self, pictures: list[Path]) -> np.ndarray:
            return np.eye(len(pictures))

        def text_features(self, texts: list[str]) -> np.ndarray:
            rows = np.eye(len(texts))
            rows[3] = 0.5
            rows[3, 3] = 0.1
            return rows

    folder = tiny_pictures(tmp_path / "p", 12)
    pairs = [(path.name, "x") for path in sorted(folder.iterdir())]
    fake: Any = Fake()
    assert low_agreement(fake, folder, pairs) == {"picture-003.png"}
    assert low_agreement(fake, folder, pairs[:6]) == frozenset()


@pytest.mark.parametrize("kind", ["llava", "blip-2", "florence2", "qwen2_vl"])
def test_other_captioners_describe_through_image_text_to_text(
    dataset: Dataset, tmp_path: Path, kind: str
) -> None:
    folder = captioners.tiny(kind, tmp_path / kind)
    result, _ = caption_set(dataset, table={"model": str(folder)})
    assert result.generated == 6
    texts = captions(dataset)
    assert all(texts)
    assert not any("Describe this" in text or "<" in text for text in texts)  # the question is no answer
    pictures = [load_picture(dataset.root / name) for name in dataset.picture_names()[:3]]
    captioner = load_captioner(str(folder))
    assert captioner.kind == kind
    assert captioner.describe(pictures) == [captioner.describe([picture])[0] for picture in pictures]


@pytest.mark.parametrize("name", ["nowhere/at-all", "clip"])
def test_a_captioner_that_cannot_be_loaded_is_told(dataset: Dataset, clip_folder: Path, name: str) -> None:
    with pytest.raises(CaptionerError, match="cannot be loaded"):
        caption_set(dataset, table={"model": str(clip_folder) if name == "clip" else name})


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DatasetError, match="no pictures"):
        caption(tmp_path)


def test_the_command_replaces_words_and_looks_at_agreement(
    dataset: Dataset, blip_folder: Path, clip_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["caption", str(dataset.root), "--model", str(blip_folder), "--embedder", str(clip_folder)]
    assert exit_status([*arguments, "--replace", "a=one", "--replace", "the=", "--trigger", "vnr"]) == 0
    assert "6 of 6 pictures captioned" in capsys.readouterr().out
    assert all(text.startswith("vnr") and " a " not in text for text in captions(dataset))
    assert exit_status([*arguments, "--replace", "a"]) == 2
    assert "write OLD=NEW" in capsys.readouterr().err
