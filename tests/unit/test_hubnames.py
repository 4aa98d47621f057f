"""Names with a revision: taken apart in one place, told by a dry run, and no way around the workspace."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from veneer.captions import captioner
from veneer.cli import exit_status
from veneer.errors import CaptionerError, VeneerError
from veneer.hubnames import CLIP, PINNED, asked_revisions, revision_of, split_revision
from veneer.models import embedder, modelfiles
from veneer.places import outside
from veneer.recipe import bundled_names, load_recipe, resolve

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize(
    ("name", "parted"),
    [
        ("owner/name", ("owner/name", None)),
        (f"owner/name@{COMMIT}", ("owner/name", COMMIT)),
        ("name@refs/pr/7", ("name", "refs/pr/7")),
        ("/home/me/my@model", ("/home/me/my@model", None)),
        ("owner/name@", ("owner/name@", None)),
        ("a/b/c@d", ("a/b/c@d", None)),
        ("owner/name@a b", ("owner/name@a b", None)),
    ],
)
def test_a_name_is_taken_apart_and_a_path_is_not(name: str, parted: tuple[str, str | None]) -> None:
    assert split_revision(name) == parted


@pytest.mark.parametrize("name", [name for name in bundled_names() if name != "pocket-8bit"])
def test_every_model_that_a_recipe_brings_is_pinned(name: str) -> None:
    """Weights that change under a name change results, and could be replaced by anybody with its password."""
    recipe = load_recipe(name, ["collect.sources=x"])
    asked = asked_revisions(recipe)
    assert {"base.model", "compare.embedder"} <= set(asked)
    assert ("caption.model" in asked) == (recipe.caption.model != "none")
    assert all("not pinned" not in words and "what is now" not in words for words in asked.values()), asked


def test_commits_are_whole() -> None:
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in PINNED.values())


@pytest.mark.parametrize(
    ("name", "asked", "revision"),
    [
        (CLIP, None, PINNED[CLIP]),
        (CLIP, "v2", "v2"),
        (f"{CLIP}@main", None, "main"),
        (f"{CLIP}@main", "v2", "main"),
        ("owner/name", None, None),
    ],
)
def test_the_nearest_wish_decides_the_revision(name: str, asked: str | None, revision: str | None) -> None:
    assert revision_of(name, asked) == revision


def test_a_folder_with_such_a_name_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my@model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert split_revision("my@model") == ("my@model", None)


def test_a_dry_run_says_which_revision_is_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = f"collect.sources={tmp_path}"
    command = ["run", "sd15-style", "--out", str(tmp_path / "r"), "--dry-run", "--set", source]
    assert exit_status([*command, "--set", f"caption.model=owner/name@{COMMIT}"]) == 0
    said = capsys.readouterr().out
    assert f": commit {PINNED[CLIP]}" in said
    assert f"caption.model from the hub, owner/name: commit {COMMIT}" in said
    assert exit_status([*command, "--set", "base.revision=fp16", "--json"]) == 0
    asked = json.loads(capsys.readouterr().out)["asked"]
    assert asked["base.model"].endswith("what is now called fp16")
    assert asked["compare.embedder"].count("commit") == 2
    assert exit_status([*command, "--set", "caption.model=owner/name"]) == 0
    assert "owner/name: main, not pinned" in capsys.readouterr().out
    assert not asked_revisions(resolve({"base": {"model": "pocket"}, "caption": {"model": "none"}}))


def test_the_revision_goes_to_the_hub_and_the_name_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []

    def note(name: str, *_: object, revision: str | None = None, **__: object) -> Any:
        asked.append((name, revision))
        raise OSError("no hub in a test")

    monkeypatch.setattr(modelfiles, "snapshot_download", note)
    for module in (captioner, embedder):
        monkeypatch.setattr(module.AutoConfig, "from_pretrained", note)
    name = f"owner/name@{COMMIT}"
    with pytest.raises(VeneerError):
        modelfiles.find_model(name, revision="older")
    with pytest.raises(CaptionerError):
        captioner.load_captioner(name)
    with pytest.raises(VeneerError):
        embedder.load_embedder(name)
    assert asked == [("owner/name", COMMIT)] * 3


def test_a_link_out_of_the_workspace_is_none_with_a_revision_either(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    for table, key in (("base", "model"), ("caption", "model"), ("compare", "embedder")):
        assert outside(resolve({table: {key: "link@main"}}), [root]), (table, key)
