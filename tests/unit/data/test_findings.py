from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from veneer.data import findings
from veneer.data.findings import copy_findings, embedding_findings, low_scores, own_findings, upscaling
from veneer.data.inspection import Inspected

SOUND = Inspected(
    width=640,
    height=512,
    num_bytes=10_000,
    sha256="a",
    phash=0,
    colours=bytes(48),
    entropy=5.0,
    dark=0.9,
    light=0.2,
    sharpness=1.0,
    blur=0.2,
    letters=0,
    letters_at_edge=False,
    turned=False,
)


def flags(**change: Any) -> list[str]:
    return [finding.flag for finding in own_findings("x.png", replace(SOUND, **change), 512)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"entropy": 0.1, "blur": 0.9}, ["blank"]),
        ({"entropy": 0.7}, ["low-information"]),
        ({"blur": 0.8}, ["blurry"]),
        ({"sharpness": 0.1}, ["blurry"]),
        ({"height": 511}, ["small"]),
        ({"width": 2000}, ["odd-aspect"]),
        ({"dark": 0.3}, ["dark"]),
        ({"light": 0.96}, ["light"]),
        ({"letters": 7}, ["text"]),
        ({"letters": 7, "letters_at_edge": True}, ["watermark"]),
    ],
)
def test_each_measure_has_its_flag(change: dict[str, Any], expected: list[str]) -> None:
    assert flags(**change) == expected


def test_the_cost_of_upscaling_is_told() -> None:
    finding = own_findings("x.png", replace(SOUND, width=256, height=300), 512)[0]
    assert upscaling(replace(SOUND, width=256, height=300), 512) == 2.0
    assert finding.reason.startswith("256 x 300 px, below 512 px: enlarged 2 times, 75 %")


def test_of_copies_the_largest_unspoilt_one_stays() -> None:
    seen = [
        replace(SOUND, sha256="a", width=100, height=100),
        replace(SOUND, sha256="b", width=300, height=300, phash=3),
        replace(SOUND, sha256="c", width=200, height=200, phash=1),
        replace(SOUND, sha256="d", phash=2**63 + 2**40 - 1),
        replace(SOUND, sha256="c", width=200, height=200, phash=1),
    ]
    names = ["a", "b", "c", "d", "e"]
    found = {f.file_name: (f.flag, f.other) for f in copy_findings(names, seen)}
    assert found == {
        "a": ("near-duplicate", "b"),
        "c": ("near-duplicate", "b"),
        "e": ("near-duplicate", "b"),
    }
    found = {f.file_name: (f.flag, f.other) for f in copy_findings(names, seen, spoilt={"b"})}
    assert found == {
        "a": ("near-duplicate", "c"),
        "b": ("near-duplicate", "c"),
        "e": ("exact-duplicate", "c"),
    }


def test_of_equal_copies_the_one_with_less_writing_stays() -> None:
    seen = [replace(SOUND, sha256="a", letters=22), replace(SOUND, sha256="b", letters=5)]
    assert [(f.file_name, f.other) for f in copy_findings(["a", "b"], seen, {"a", "b"})] == [("a", "b")]


def test_the_same_shape_in_another_colour_is_no_copy() -> None:
    seen = [replace(SOUND, sha256="a"), replace(SOUND, sha256="b", colours=bytes([40] * 48))]
    assert copy_findings(["a", "b"], seen) == []


def test_blank_pictures_are_no_copies_of_each_other() -> None:
    assert copy_findings(["a", "b"], [replace(SOUND, entropy=0.0, sha256=s) for s in "ab"]) == []


def test_an_embedder_finds_what_hashes_miss() -> None:
    features = np.array([[1.0, 0.0], [0.0, 1.0], [0.999, 0.0447]])
    found = embedding_findings(["a", "b", "c"], [SOUND] * 3, features, 0.985)
    assert [(f.file_name, f.other) for f in found] == [("c", "a")]


@pytest.mark.parametrize("change", [{"dark": 0.1}, {"light": 0.97}, {"entropy": 0.5}])
def test_an_embedder_is_not_asked_about_pictures_that_show_next_to_nothing(change: dict[str, Any]) -> None:
    features = np.ones((3, 1))
    found = embedding_findings(["a", "b", "c"], [replace(SOUND, **change), SOUND, SOUND], features, 0.985)
    assert [(f.file_name, f.other) for f in found] == [("c", "b")]


def test_blocks_compare_every_picture_with_every_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "BLOCK", 4)
    features = np.eye(11)
    features[9] = features[2]
    features[10] = features[8]
    found = embedding_findings([f"{i:02}" for i in range(11)], [SOUND] * 11, features, 0.985)
    assert [(f.file_name, f.other) for f in found] == [("09", "02"), ("10", "08")]


def test_low_scores_are_far_below_the_others() -> None:
    scores = [0.30, 0.31, 0.29, 0.32, 0.30, 0.28, 0.31, 0.05]
    assert low_scores(scores) == [7]
    assert low_scores(scores[4:]) == []
