"""Damaged files of every format: each is decoded or refused with a reason, and none ends the program."""

import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.fault_files import damaged
from veneer.data.standard import Standardised, standardise
from veneer.data.worker import Failure, Workers
from veneer.errors import DatasetError

FORMATS = ("jpg", "png", "webp", "avif", "bmp", "tif", "gif")


def originals(folder: Path) -> dict[str, Any]:
    noise = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    made = {}
    for suffix in FORMATS:
        path = folder / f"original.{suffix}"
        options = {"compression": "tiff_lzw"} if suffix == "tif" else {}
        picture.save(path, **options)
        made[suffix] = path.read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=exif, progressive=True)
    made["jpeg"] = (folder / "turned.jpg").read_bytes()
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(folder / "sixteen.png")
    made["16.png"] = (folder / "sixteen.png").read_bytes()
    return made


def fuzz(folder: Path, count: int) -> tuple[list[tuple[str, Any]], Path]:
    chance = random.Random(7)
    made = originals(folder)
    jobs = []
    for number in range(count):
        suffix = chance.choice(sorted(made))
        path = folder / f"{number}.{suffix}"
        path.write_bytes(damaged(made[suffix], chance))
        jobs.append((suffix, (path, folder / f"{number}.out")))
    with Workers(standardise) as workers:
        return list(workers.map(jobs)), folder


def judge(results: list[tuple[str, Any]], folder: Path) -> int:
    refused = [made for _, made in results if isinstance(made, Failure)]
    for number, (_, made) in enumerate(results):
        if isinstance(made, Standardised):
            with Image.open(folder / f"{number}.out") as written:
                written.load()
                assert written.mode == "RGB"
        else:
            assert isinstance(made, Failure)
            assert made.reason
            assert "Traceback" not in made.reason
            assert not (folder / f"{number}.out").exists()
    assert not any("crashed" in made.reason or "not done within" in made.reason for made in refused)
    return len(refused)


def test_two_thousand_damaged_files_are_decoded_or_refused(tmp_path: Path) -> None:
    results, folder = fuzz(tmp_path, 2000)
    assert len(results) == 2000
    assert {suffix for suffix, made in results if isinstance(made, Failure)} == set(originals(tmp_path))
    assert 600 < judge(results, folder) < 2000


def test_the_decoder_raises_nothing_but_its_own_error(tmp_path: Path) -> None:
    from veneer.data.picture import decode_picture

    chance = random.Random(11)
    made = originals(tmp_path)
    for number in range(150):
        suffix = chance.choice(sorted(made))
        path = tmp_path / f"{number}.{suffix}"
        path.write_bytes(damaged(made[suffix], chance))
        try:
            assert decode_picture(path).picture.mode == "RGB"
        except DatasetError as error:
            assert error.what
