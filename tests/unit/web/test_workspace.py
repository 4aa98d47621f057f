"""Paths stay inside the workspace, names are plain, and a second studio is kept out."""

from pathlib import Path

import pytest

from veneer.config import CollectTable, Recipe
from veneer.errors import VeneerError
from veneer.web.tabs.dataset.uploads import address_list, check_file, safe_name, staged
from veneer.web.workspace import Workspace, checked_name, free_name


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    place = Workspace(tmp_path / "workspace")
    place.create()
    return place


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\\b", "..", ".hidden", "", "a\0b", "x" * 81, "-rf", "nul", "a..b"]
)
def test_names_that_lead_elsewhere_are_refused(workspace: Workspace, name: str) -> None:
    for place in (workspace.dataset, workspace.run, workspace.recipe):
        with pytest.raises(VeneerError):
            place(name)


@pytest.mark.parametrize("name", ["city", "8-bit_style.v2", "Städte"])
def test_plain_names_are_taken(name: str) -> None:
    assert checked_name(f" {name} ", "run") == name


@pytest.mark.parametrize("text", ["..", "/etc/passwd", "datasets/../../x", "~", "a\0b"])
def test_paths_outside_are_refused(workspace: Workspace, text: str) -> None:
    with pytest.raises(VeneerError):
        workspace.inside(text)


def test_a_link_that_leads_outside_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    (workspace.root / "out").symlink_to(tmp_path)
    with pytest.raises(VeneerError, match="outside the workspace"):
        workspace.inside("out")
    assert workspace.inside("datasets/x") == workspace.datasets.resolve() / "x"


def test_entries_that_are_links_to_elsewhere_are_refused_and_not_listed(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "recipe.toml").write_text("")
    for folder, taken in ((workspace.datasets, workspace.dataset), (workspace.runs, workspace.run)):
        (folder / "led").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(VeneerError, match="outside the workspace"):
            taken("led")
    (workspace.recipes / "led.toml").symlink_to(tmp_path / "elsewhere" / "recipe.toml")
    for recipe in (workspace.recipe, lambda name: workspace.save_recipe(name, "x")):
        with pytest.raises(VeneerError, match="outside the workspace"):
            recipe("led")
    assert workspace.dataset_names() == workspace.run_names() == []


def test_pasted_addresses_become_a_list_in_the_workspace(workspace: Workspace) -> None:
    source = address_list(workspace, "city", " https://a.example/x.png\ta caption \n\nhttps://b.example/y\n")
    assert source == "urls:.studio/addresses/city.txt"
    path = workspace.root / source.removeprefix("urls:")
    assert path.read_text() == "https://a.example/x.png\ta caption\nhttps://b.example/y\n"
    assert usable(workspace, source)
    assert address_list(workspace, "city", " \n ") == ""
    with pytest.raises(VeneerError):
        address_list(workspace, "../x", "https://a.example/x.png")


def usable(workspace: Workspace, source: str) -> Recipe:
    return workspace.usable(Recipe(collect=CollectTable(sources=(source,))))


def test_sources_outside_are_refused_and_those_inside_pass(workspace: Workspace) -> None:
    """What leads out and what does not is walked in tests/unit/test_places.py."""
    for source in ("/etc", "urls:/etc/passwd", "hf: /etc", "..", "~"):
        with pytest.raises(VeneerError, match=r"`collect\.sources` leads out of the workspace"):
            usable(workspace, source)
    for source in ("bing:8-bit city;size=large", "hf:someone/pictures", "pocket", "datasets/a"):
        assert usable(workspace, source)
    assert usable(Workspace(workspace.root, (Path("/etc"),)), "/etc")


def test_uploaded_names_lose_their_paths() -> None:
    names = {
        "../../x.png": "x.png",
        "..\\..\\y.jpg": "y.jpg",
        "a\0b.png": "ab.png",
        "..": "file",
        "q?*.png": "q__.png",
    }
    assert {name: safe_name(name) for name in names} == names
    assert len(safe_name("x" * 500 + ".png")) == 120


def test_uploads_of_another_kind_or_too_large_are_refused(tmp_path: Path) -> None:
    for name, size in (("x.exe", 1), ("x.svg", 1), ("x.png", 26 * 2**20)):
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(size)
        with pytest.raises(VeneerError):
            check_file(path)


def test_staged_uploads_keep_apart_and_vanish(workspace: Workspace, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.png").write_bytes(name.encode())
    with staged(workspace, [str(tmp_path / "a/same.png"), str(tmp_path / "b/same.png")]) as folder:
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            "same.png": b"a",
            "same-2.png": b"b",
        }
    assert not folder.exists()


def test_a_second_studio_is_kept_out(workspace: Workspace) -> None:
    other = Workspace(workspace.root)
    with workspace.locked(), pytest.raises(VeneerError, match="another studio"), other.locked():
        pass
    with other.locked():
        pass


def test_a_bundled_recipe_is_not_shadowed(workspace: Workspace) -> None:
    with pytest.raises(VeneerError, match="bundled recipe"):
        workspace.save_recipe("pocket-8bit", "")
    path = workspace.save_recipe("mine", "")
    assert workspace.recipe("mine") == "recipes/mine.toml"
    assert path.parent == workspace.recipes


@pytest.mark.parametrize("name", ["my run", "ein [Stil]", "a..b", "-rf", "x" * 120, "'\"&<b>", "nul"])
def test_what_a_shell_has_named_is_found_under_its_name(workspace: Workspace, name: str) -> None:
    """A folder that was made by hand must not take every list of the page away."""
    (workspace.runs / name).mkdir()
    (workspace.runs / name / "recipe.toml").write_text("")
    (workspace.datasets / name).mkdir()
    (workspace.recipes / f"{name}.toml").write_text("")
    assert (workspace.run_names(), workspace.dataset_names()) == ([name], [name])
    assert name in workspace.recipe_names()
    assert workspace.run(name).root == workspace.runs / name
    assert workspace.dataset(name) == workspace.datasets / name
    assert workspace.recipe(name) == f"recipes/{name}.toml"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "caf\udce9", ".hidden", "\u202eback"])
def test_what_no_page_can_show_is_left_out_of_its_lists(workspace: Workspace, name: str) -> None:
    (workspace.runs / name).mkdir()
    (workspace.runs / name / "recipe.toml").write_text("")
    (workspace.datasets / name).mkdir()
    (workspace.recipes / f"{name}.toml").write_text("")
    assert (workspace.run_names(), workspace.dataset_names()) == ([], [])
    assert name not in workspace.recipe_names()
    with pytest.raises(VeneerError):
        workspace.run(name)


def test_free_names_are_numbered() -> None:
    assert free_name("a", ["a", "a-2"]) == "a-3"
    assert free_name("a", []) == "a"
