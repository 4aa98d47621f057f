import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import veneer.data.sources
from helpers.tiny import tiny_pictures
from veneer.config import CollectTable
from veneer.data.provenance import Provenance
from veneer.data.sidecars import FolderCaptions
from veneer.errors import DatasetError
from veneer.records.dataset import Dataset
from veneer.records.jsonlines import read_lines
from veneer.stages.collect import CollectResult, collect


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny_pictures(tmp_path / "source", 6)


def entries(dataset: Dataset) -> list[dict[str, Any]]:
    return list(read_lines(dataset.provenance_jsonl))


def run(sources: list[Any], out: Path, **table: Any) -> tuple[CollectResult, list[Any]]:
    events: list[Any] = []
    result = collect([str(source) for source in sources], out, CollectTable(**table), events.append)
    return result, [event for event in events if hasattr(event, "code")]


def test_pictures_get_standard_names_and_provenance(source: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (30, 20), (255, 0, 0, 0)).save(source / "z.webp", lossless=True)
    result, _ = run([source], tmp_path / "set")
    dataset = Dataset(tmp_path / "set")
    assert result.added == 7
    assert dataset.picture_names() == [f"images/{n:06d}.png" for n in range(1, 8)]
    first, last = entries(dataset)[0], entries(dataset)[-1]
    assert first["origin"] == str((source / "picture-000.png").resolve())
    assert (first["changes"], first["original_size"], first["format"]) == ([], [64, 64], "PNG")
    assert last["changes"] == ["transparency laid over white"]
    kept = (tmp_path / "set" / "images" / "000001.png").read_bytes()
    assert kept == (source / "picture-000.png").read_bytes()


def test_the_same_command_adds_nothing_twice_and_takes_what_is_new(source: Path, tmp_path: Path) -> None:
    run([source], tmp_path / "set")
    before = {p: p.read_bytes() for p in (tmp_path / "set").rglob("*") if p.is_file()}
    result, _ = run([source], tmp_path / "set")
    assert (result.added, result.known, result.pictures) == (0, 6, 6)
    assert {p: p.read_bytes() for p in (tmp_path / "set").rglob("*") if p.is_file()} == before
    Image.effect_noise((64, 64), 60).save(source / "new.png")
    assert run([source], tmp_path / "set")[0].added == 1


def test_captions_come_along_from_text_files_and_metadata(source: Path, tmp_path: Path) -> None:
    (source / "picture-000.txt").write_bytes("ein Haus\n am See".encode("utf-16"))
    (source / "sub").mkdir()
    shutil.move(source / "picture-001.png", source / "sub" / "bild é.png")
    (source / "sub" / "metadata.jsonl").write_text(
        json.dumps({"file_name": "bild e\u0301.png", "text": "von Hand", "author": "ich"}), "utf-8"
    )
    result, notices = run([source], tmp_path / "set")
    captions = {i.caption: i.extra for i in Dataset(tmp_path / "set").items() if i.caption}
    assert captions == {"ein Haus am See": {"author": ""}, "von Hand": {"author": "ich"}}
    assert result.captioned == 2
    assert [notice.code for notice in notices] == ["captions-missing"]
    assert "4 of 6" in notices[0].message


def test_the_caption_of_a_copy_that_is_left_out_is_not_lost(source: Path, tmp_path: Path) -> None:
    shutil.copy(source / "picture-001.png", source / "twin.png")
    (source / "twin.txt").write_text("words of the twin")
    run([source], tmp_path / "set")
    captions = [item.caption for item in Dataset(tmp_path / "set").items()]
    assert captions == ["", "words of the twin", "", "", "", ""]


def test_caption_files_without_a_picture_are_told(source: Path, tmp_path: Path) -> None:
    (source / "picture-000.txt").write_text("a")
    (source / "picture-00.txt").write_text("b")
    _, notices = run([source], tmp_path / "set")
    assert "picture-00.txt" in next(n.message for n in notices if n.code == "stray-captions")


def test_metadata_that_names_missing_pictures_is_an_error_before_anything_is_taken(
    source: Path, tmp_path: Path
) -> None:
    (source / "metadata.csv").write_text("file_name,caption\ngone.png,x\n")
    words = r"names 1 picture that does not exist: gone\.png; 6 .* named.*--prune"
    with pytest.raises(DatasetError, match=words):
        run([source], tmp_path / "set")


def test_what_cannot_be_used_goes_to_rejected_with_its_reason(source: Path, tmp_path: Path) -> None:
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff half a picture")
    (source / "key.png").write_bytes(b"a secret that is called a picture")
    (source / "link.png").symlink_to("broken.jpg")
    (source / "vector.svg").write_text("<svg/>")
    shutil.copy(source / "picture-000.png", source / "twin.png")
    (source / "large.png").write_bytes(b"\0" * 3000)
    (source / "notes.pdf").write_bytes(b"x")
    result, notices = run([source], tmp_path / "set", max_file_mib=0.002)
    reasons = {line["name"]: line for line in read_lines(tmp_path / "set" / "rejected" / "reasons.jsonl")}
    assert result.rejected == len(reasons) == 5
    assert reasons["broken.jpg"]["file"] == "rejected/broken.jpg"
    assert (tmp_path / "set" / "rejected" / "broken.jpg").read_bytes() == b"\xff\xd8\xff half a picture"
    assert {path.name for path in (tmp_path / "set" / "rejected").iterdir()} == {
        "broken.jpg",
        "reasons.jsonl",
    }
    assert reasons["twin.png"]["same_as"] == "images/000001.png"
    assert reasons["large.png"]["reason"] == "larger than 0.002 MiB"
    assert len([n for n in notices if n.code == "picture-rejected"]) == 5


def test_of_what_is_no_picture_no_copy_is_kept(source: Path, tmp_path: Path) -> None:
    """A recipe may have named any file of the user, and `rejected/` is shown and shared."""
    named = [tmp_path / "passwd", *(source / f"{name}.png" for name in ("text", "page", "zeros"))]
    for file, content in zip(named, (b"SECRET", b"SECRET" * 9000, b"<html>SECRET", bytes(99)), strict=True):
        file.write_bytes(content)
    run([source, named[0]], tmp_path / "set")
    written = [path for path in (tmp_path / "set").rglob("*") if path.is_file()]
    assert not [path for path in written if b"SECRET" in path.read_bytes()]
    lines = list(read_lines(tmp_path / "set" / "rejected" / "reasons.jsonl"))
    assert {line["origin"] for line in lines} == set(map(str, named))
    assert [line["file"] for line in lines] == [""] * 4


@pytest.mark.parametrize(("count", "words"), [(0, "no pictures"), (3, "only 3 usable pictures")])
def test_too_few_pictures_are_an_error_that_keeps_them(tmp_path: Path, count: int, words: str) -> None:
    folder = tiny_pictures(tmp_path / "few", count)
    (folder / "broken.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match=rf"{words}, at least 4 are needed; 1 left out .*rejected"):
        run([folder], tmp_path / "set")
    assert len(Dataset(tmp_path / "set").picture_names()) == count


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere", "no such folder"),
        ("urls:nowhere.txt", "no such file"),
        ("bing:x;size=huge", "no such filter"),
        ("bing: ", "without words"),
        ("hf:x;colour=red", "no such option"),
    ],
)
def test_wrong_sources_are_refused_before_anything_is_written(
    tmp_path: Path, source: str, words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        run([source], tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_the_limit_counts_what_is_there_already(source: Path, tmp_path: Path) -> None:
    assert run([source], tmp_path / "set", limit=4)[0].pictures == 4
    assert run([source], tmp_path / "set", limit=5)[0].added == 1
    assert run([source], tmp_path / "set", limit=5)[0].added == 0


@pytest.mark.parametrize("moment", ["before the entry", "after the entry"])
def test_a_kill_at_any_moment_leaves_whole_books(
    source: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = Provenance.accept

    def killed(self: Any, origin: Any, partial: Any, made: Any, facts: Any) -> Any:
        if len(self.accepted) == 4:
            if moment == "after the entry":
                monkeypatch.setattr("pathlib.Path.replace", replace_once)
            else:
                raise KeyboardInterrupt
        return accept(self, origin, partial, made, facts)

    original, calls = type(source).replace, []

    def replace_once(self: Any, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:  # the first gives the number, the second the final name
            raise KeyboardInterrupt
        return original(self, target)

    monkeypatch.setattr(Provenance, "accept", killed)
    with pytest.raises(KeyboardInterrupt):
        run([source], tmp_path / "set")
    monkeypatch.undo()
    with (tmp_path / "set" / "provenance.jsonl").open("a") as file:
        file.write('{"file_name": "images/0000')
    result, _ = run([source], tmp_path / "set")
    dataset = Dataset(tmp_path / "set")
    assert result.pictures == 6
    assert dataset.picture_names() == [f"images/{n:06d}.png" for n in range(1, 7)]
    assert [entry["file_name"] for entry in entries(dataset)] == dataset.picture_names()
    assert [item.file_name for item in dataset.read_metadata()] == dataset.picture_names()
    assert not list(dataset.images.glob(".*"))


def test_edited_captions_survive_another_collect(source: Path, tmp_path: Path) -> None:
    run([source], tmp_path / "set")
    path = tmp_path / "set" / "metadata.csv"
    path.write_text(path.read_text().replace("000002.png,", "000002.png,by hand"))
    Image.effect_noise((64, 64), 60).save(source / "new.png")
    run([source], tmp_path / "set")
    assert [item.caption for item in Dataset(tmp_path / "set").items()] == ["", "by hand", "", "", "", "", ""]


def test_the_data_set_inside_its_own_source_is_not_read(source: Path) -> None:
    run([source], source / "set")
    assert run([source], source / "set")[0].known == 6


def test_a_picture_that_was_mended_is_taken_by_the_same_command(source: Path, tmp_path: Path) -> None:
    (source / "z.png").write_bytes(b"broken")
    assert run([source], tmp_path / "set")[0].rejected == 1
    assert run([source], tmp_path / "set")[0].rejected == 0
    Image.effect_noise((64, 64), 60).save(source / "z.png")
    assert run([source], tmp_path / "set")[0].added == 1


def test_masks_come_along(source: Path, tmp_path: Path) -> None:
    Image.new("L", (64, 64), 255).save(source / "picture-000.mask.png")
    run([source], tmp_path / "set")
    assert (tmp_path / "set" / "images" / "000001.mask.png").is_file()
    assert len(Dataset(tmp_path / "set").picture_names()) == 6


def test_the_bundled_pictures_have_names_that_travel(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(veneer.data.sources, "POCKET_PICTURES", source)
    run(["pocket"], tmp_path / "set")
    assert entries(Dataset(tmp_path / "set"))[0]["origin"] == "pocket:picture-000.png"


def test_a_hugging_face_set_is_read_with_its_captions(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    pictures = sorted(source.iterdir())
    lines = ["file_name,text,mood", *(f"{p.name},picture {i},calm" for i, p in enumerate(pictures))]
    (source / "metadata.csv").write_text("\n".join(lines))
    result, _ = run([f"hf:{source}"], tmp_path / "set")
    assert (result.added, result.captioned) == (6, 6)
    item = Dataset(tmp_path / "set").items()[3]
    assert (item.caption, item.extra) == ("picture 3", {"mood": "calm"})
    assert run([f"hf:{source}"], tmp_path / "set")[0].added == 0


@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
def test_a_pipe_among_the_pictures_does_not_hang(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "pipe.png")
    assert run([source], tmp_path / "set")[0].added == 6


def test_an_interrupted_command_and_its_sequel_say_what_one_would(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "a.png").write_bytes(b"\x89PNG broken")
    (source / "picture-004.txt").write_text("words")
    whole, told = run([source], tmp_path / "whole")
    accept = Provenance.accept

    def killed(self: Provenance, *arguments: Any) -> str:
        if len(self.accepted) == 3:
            raise KeyboardInterrupt
        return accept(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Provenance, "accept", killed)
        with pytest.raises(KeyboardInterrupt):
            run([source], tmp_path / "set")
    result, told_again = run([source], tmp_path / "set")
    assert result.summary.replace("set", "whole") == whole.summary
    assert (result.added, result.known) == (3, 4)
    assert sorted(notice.code for notice in told_again) == sorted(notice.code for notice in told)


def test_an_odd_list_of_addresses_is_one_line_each(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("http://[\nhttp://x[y/z.png\nhttp://]:x/\n")
    with pytest.raises(DatasetError, match="no pictures, at least 4 are needed; 3 left out"):
        run([f"urls:{tmp_path / 'list.txt'}"], tmp_path / "set")


def test_names_of_any_bytes_and_length_are_taken(source: Path, tmp_path: Path) -> None:
    for number, name in enumerate((b"caf\xe9.png", b"x" * 251 + b".png", "\u2028\x1b[31m.png".encode())):
        path = source / os.fsdecode(name)
        Image.effect_noise((64, 64), 30 + number).save(path)
        path.with_name(os.fsdecode(b"b" + name[1:])).write_bytes(b"\x89PNG broken")
    result, _ = run([source], tmp_path / "set")
    assert (result.added, result.rejected) == (9, 3)
    again, _ = run([source], tmp_path / "set")
    assert (again.added, again.known, again.summary) == (0, 12, result.summary)


def test_a_picture_that_is_deleted_meanwhile_is_one_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deleting(*arguments: Any) -> Any:
        captions = FolderCaptions(*arguments)
        (source / "picture-001.png").unlink()
        return captions

    monkeypatch.setattr(veneer.data.sources, "FolderCaptions", deleting)
    result, _ = run([source], tmp_path / "set")
    assert (result.added, result.reasons) == (5, {"no such file": 1})
