"""Every handler of the page, with paths out of the workspace in each field: no file there is opened."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from veneer.errors import VeneerError
from veneer.places import outside
from veneer.recipe import load_recipe, resolve, to_toml

TEXTS = {"Textbox", "Dropdown"}
OPENING = ("open", "os.listdir", "os.scandir", "shutil.copyfile", "os.chdir")


class Watch:
    """Sees which files this process opens; a hook cannot be taken out again, only ignored."""

    def __init__(self) -> None:
        self.place = ""
        self.opened: list[tuple[str, str]] = []
        sys.addaudithook(self.note)

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.place and event in OPENING and str(arguments[0]).startswith(self.place):
            self.opened.append((event, str(arguments[0])))


WATCH = Watch()


@pytest.fixture
def out(tmp_path: Path) -> Any:
    """A folder outside the workspace, with what nobody shall get."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text("SECRET")
    (folder / "config.json").write_text('{"model_type": "clip"}')
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    WATCH.place, WATCH.opened = str(folder), []
    yield folder
    WATCH.place = ""


@pytest.fixture
def studio(with_gradio: None, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A studio on a workspace that holds a recipe and a run of a stranger, both leading out."""
    from veneer.web.jobs.queue import JobBook
    from veneer.web.studio import Studio
    from veneer.web.workspace import Workspace

    place = Workspace(tmp_path / "workspace")
    place.create()
    monkeypatch.chdir(place.root)
    leads_out = resolve({"base": {"model": str(out)}, "collect": {"sources": [str(out)]}})
    (place.recipes / "strange.toml").write_text(to_toml(leads_out))
    run = place.run("strange")
    (run.checkpoints / "step-000001").mkdir(parents=True)
    run.write_recipe(leads_out)
    for file in (run.lora_file, run.checkpoints / "step-000001" / "adapter.safetensors"):
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_bytes(b"x")
    (place.datasets / "dots" / "images").mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(place.datasets / "dots/images/1.png")
    started = []
    monkeypatch.setattr(JobBook, "_start", lambda _, job: started.append(job))
    monkeypatch.setattr("veneer.training.plan.plan_for", refuse)
    opened = Studio(place, JobBook(place))
    yield opened, started
    for job in started:
        assert outside(load_recipe(job.recipe), [place.root]) == {}, job


def refuse(*_: Any) -> Any:
    raise VeneerError("not planned here")


FILLED = {
    "dataset-name": "dots", "dataset-captioner": "none", "recipe-start": "pocket-8bit", "recipe-name": "mine",
    "recipe-dataset": "dots", "train-recipe": "strange", "train-shown": "strange", "compare-run": "strange",
    "compare-prompts": "a", "compare-seeds": "0", "compare-steps": "1", "compare-scale": 1,
    "dataset-shown": ["dots", ["images/1.png"]],
    "compare-rows": ["step-000001"], "compare-others": ["run/strange"],
    "runs-one": "strange", "runs-other": "strange", "runs-doomed": "nothing",
}  # fmt: skip


def value_of(part: Any) -> Any:
    if part.elem_id in FILLED:
        return FILLED[part.elem_id]
    usual = getattr(part, "value", None)
    kinds = {
        "JSON": 0 if usual is None else usual,
        "Checkbox": True,
        "File": None,
        "UploadButton": None,
        "State": part.value,
        "Number": usual,
    }
    return kinds.get(type(part).__name__, getattr(part, "value", "") or "")


def called(function: Any, values: list[Any]) -> list[Any]:
    given = function.fn(*values)
    return list(itertools.islice(given, 1000)) if hasattr(given, "__next__") else [given]


def test_no_handler_opens_what_lies_outside(studio: Any, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from veneer.web.app import build_page

    opened, _ = studio
    secret = f"{out}/secret.txt"
    hostile = [str(out), secret, f"hf: {out}", f"urls:{secret}", "../outside", f"pocket,{out}"]
    functions = [function for function in build_page(opened).fns.values() if function.fn and function.inputs]
    assert len(functions) > 50
    tried = 0
    for function in functions:
        usual = [value_of(part) for part in function.inputs]
        texts = [at for at, part in enumerate(function.inputs) if type(part).__name__ in TEXTS]
        tries = [usual]
        for at in texts:
            is_many = getattr(function.inputs[at], "multiselect", None)
            told = [[text] if is_many else text for text in hostile]
            tries += [[*usual[:at], one, *usual[at + 1 :]] for one in told]
        for values in tries:
            tried += 1
            said = str(called(function, values))
            assert "SECRET" not in said
            assert WATCH.opened == [], (function, values)
    assert tried > 500
    written = [path for path in opened.workspace.root.rglob("*") if path.is_file()]
    assert not [path for path in written if b"SECRET" in path.read_bytes()]
