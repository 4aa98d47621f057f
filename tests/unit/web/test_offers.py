"""Base models that the form offers."""

from pathlib import Path

from veneer.web import offers
from veneer.web.workspace import Workspace


def test_bundled_local_and_hub_bases_are_offered_as_recipes_name_them(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "work", (tmp_path / "allowed",))
    place.create()
    for folder in (place.root / "models" / "mine", tmp_path / "allowed"):
        folder.mkdir(parents=True)
        (folder / "model_index.json").write_text("{}")
    (place.root / "models" / "single.safetensors").write_bytes(b"x")
    (place.root / "models" / "notes.txt").write_bytes(b"x")
    values = [value for _, value in offers.bases(place)]
    assert values[:4] == ["pocket", "models/mine", "models/single.safetensors", str(tmp_path / "allowed")]
    assert "stable-diffusion-v1-5/stable-diffusion-v1-5" in values
    assert len(set(values)) == len(values)
