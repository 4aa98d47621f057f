import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.proofrun import make_run, proof_recipe
from veneer.config import Recipe
from veneer.errors import RunError
from veneer.records.files import write_json
from veneer.records.run import RunDir
from veneer.stages.compare import compare
from veneer.stages.generate import generate
from veneer.stages.report import model_card, push, report

VOID = {"meta", "img", "input", "br", "link"}


class Page(HTMLParser):
    """Collects tags, and insists that every one is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def recipe(base_folder: Path, clip_folder: Path) -> Recipe:
    nasty = ['picture of a <b>dog</b> & "city"', "picture of the city", "picture of a house"]
    return proof_recipe(base_folder, clip_folder, generate={"prompts": nasty})


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, base_folder: Path, picture_folder: Path, recipe: Recipe
) -> RunDir:
    run = make_run(tmp_path_factory.mktemp("report") / "run", base_folder, picture_folder)
    run.write_recipe(recipe)
    notice = {"code": "caption-truncated", "count": 3, "message": "3 captions <cut>"}
    stage = {"identity": {"settings": {}, "inputs": {}}, "summary": "12 pictures", "seconds": 1.5}
    stage |= {"peak_memory_gib": 0.4, "notices": [notice]}
    write_json(run.run_json, {"versions": {"torch": "2.13.0"}, "stages": {"encode": stage}})
    generate(run, recipe)
    compare(run, recipe)
    return run


@pytest.fixture(scope="module")
def page(run: RunDir, recipe: Recipe) -> Page:
    result = report(run, recipe)
    assert result.summary.endswith("index.html")
    return Page((run.report / "index.html").read_text())


def test_page_is_whole_and_needs_nothing_from_elsewhere(page: Page, run: RunDir) -> None:
    assert page.open == []
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert not page.all("link")
    assert all("src" not in script for script in page.all("script"))
    text = (run.report / "index.html").read_text()
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_every_picture_has_words_and_every_control_a_name(page: Page) -> None:
    assert all(image["alt"].strip() for image in page.all("img"))
    assert all(button["aria-label"] for button in page.all("button"))
    assert all(control["aria-label"] for control in page.all("input"))
    assert all(svg["aria-label"] for svg in page.all("svg"))


def test_ids_are_unique(page: Page) -> None:
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_page_holds_what_it_promises(page: Page, run: RunDir, recipe: Recipe) -> None:
    text = (run.report / "index.html").read_text()
    assert len(page.all("button")) == 17
    assert len(page.all("svg")) == 5
    assert "Pictures per second over the steps" in text
    assert "&lt;b&gt;dog&lt;/b&gt;" in text
    assert "<b>dog" not in text
    for part in ("Style", "Diversity", "Held-out loss", "Checkpoints", "held out", "Notices (3)", "2.13.0"):
        assert part in text
    assert "(taken)" in text
    assert "max_train_steps" in text


def test_sheet_has_base_above_tuned(page: Page, run: RunDir) -> None:
    with Image.open(run.report / "grid.png") as sheet:
        assert sheet.width > 3 * 128
        assert sheet.height > 3 * 2 * 128


def test_text_report(page: Page, run: RunDir) -> None:
    text = (run.report / "report.md").read_text()
    assert text.startswith("# run: ")
    assert "| Style |" in text


def test_nothing_compared_yet(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(RunError, match="nothing was compared"):
        report(RunDir(tmp_path), recipe)


def test_model_card_is_a_hub_readme(page: Page, run: RunDir, recipe: Recipe) -> None:
    card = model_card(run, recipe)
    assert card.startswith("---\nbase_model: ")
    assert "load_lora_weights" in card
    assert "| Style |" in card
    assert "Whose pictures" not in card


def test_the_model_card_names_whose_pictures_it_learnt_from(page: Page, run: RunDir, recipe: Recipe) -> None:
    name = "images/credited.png"
    (run.dataset / "images").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(run.dataset / name)
    told = {"author": "Ann", "licence": "CC BY 4.0", "attribution": "yes", "page": "https://a.example/1"}
    (run.dataset / "provenance.jsonl").write_text(json.dumps({"file_name": name, "title": "A house", **told}))
    card = model_card(run, recipe)
    assert "- [A house](https://a.example/1) by Ann, CC BY 4.0\n" in card


def test_push_sends_adapter_card_and_measures(
    page: Page, run: RunDir, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    sent = {}

    class Hub:
        def create_repo(self, repo: str, **options: Any) -> str:
            assert options == {"exist_ok": True, "private": True}
            return f"https://hub/{repo}"

        def create_commit(self, repo: str, operations: list[Any], **_: object) -> None:
            sent.update({one.path_in_repo: one for one in operations})

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert push(run, recipe, "me/style") == "https://hub/me/style"
    assert set(sent) == {
        "README.md", "pytorch_lora_weights.safetensors", "grid.png", "metrics.json", "recipe.toml"
    }  # fmt: skip
