"""Every Python example of the pages runs, and the notebook of ten cells too: on the bundled base, made short.

Only how long things take is changed: steps, pictures and sizes. One run serves all examples.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from diffusers import StableDiffusionPipeline

import veneer
from veneer import pipeline

pytestmark = pytest.mark.heavy  # half a minute of a quiet core

ROOT = Path(__file__).parents[2]
POCKET = ROOT / "src/veneer/pocket"
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/design").glob("*.md")),
]
QUICK: Mapping[str, Any] = {
    "collect.limit": 12,
    "caption.model": "none",
    "encode.resolution": 64,
    "train": {"max_train_steps": 2, "train_batch_size": 2, "lr_warmup_steps": 0, "validation_steps": 2},
    "generate": {
        "prompts": ["8-bit illustration of a cat"],
        "seeds": [0],
        "num_inference_steps": 1,
        "resolution": 64,
    },
    "compare": {"held_out_prompts": 1, "general_prompts": ["a photo of a dog"]},
}


def examples(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def cells() -> list[dict[str, Any]]:
    notebook = json.loads((ROOT / "examples/ten-cells.ipynb").read_text("utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def shown_by(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; what a notebook would show of its last line."""
    body = ast.parse(source).body
    last = body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        return None
    exec(compile(ast.Module(body[:-1], []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder where everything takes a moment: drawing one step, runs as `QUICK` has them."""
    folder = tmp_path_factory.mktemp("examples")
    draw, run, load = StableDiffusionPipeline.__call__, pipeline.run, StableDiffusionPipeline.from_pretrained
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)

        def from_the_hub(name: str, **options: Any) -> Any:
            assert name in {"stable-diffusion-v1-5/stable-diffusion-v1-5", "src/veneer/pocket"}
            return load(POCKET, safety_checker=None)

        def draw_once(self: Any, *args: Any, **options: Any) -> Any:
            return draw(self, *args, **{**options, "num_inference_steps": 1, "height": 64, "width": 64})

        def run_shortly(recipe: Any, out: Any, overrides: Any = (), **options: Any) -> Any:
            given = veneer.load_recipe(recipe, overrides)  # as it stands it has to be right
            assert given
            return run(recipe, out, QUICK, **options)

        patch.setattr(StableDiffusionPipeline, "from_pretrained", from_the_hub)
        patch.setattr(StableDiffusionPipeline, "__call__", draw_once)
        patch.setattr("veneer.preflight.hub_answers", lambda: True)
        patch.setattr(pipeline, "run", run_shortly)
        first = examples((ROOT / "docs/python.md").read_text("utf-8"))[0]
        shown_by(first, {})
        for name in ("pocket-8bit", "mine"):
            (folder / "runs" / name).symlink_to("demo")
        patch.setattr(pipeline, "run", run)
        yield folder


PAGES_WITH_EXAMPLES = [page for page in PAGES if examples(page.read_text("utf-8"))]


@pytest.mark.parametrize("page", PAGES_WITH_EXAMPLES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run_in_their_order(page: Path, quick: Path) -> None:
    names: dict[str, Any] = {}
    found = examples(page.read_text("utf-8"))
    for example in found[1:] if page.stem == "python" else found:
        names.setdefault("veneer", veneer)
        shown_by(example, names)


def test_the_example_at_the_head_of_the_package_parses_as_it_is_called() -> None:
    code = [line[4:] for line in veneer.__doc__.splitlines() if line.startswith("    ")]
    tree = ast.parse("\n".join(code))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert {"veneer.run", "result.pipeline()"} <= called


def test_the_notebook_has_ten_cells_and_each_shows_what_it_promises(quick: Path) -> None:
    sources = ["".join(cell["source"]) for cell in cells()]
    assert len(sources) == 10
    names: dict[str, Any] = {}
    shown = [shown_by(sources[0], names)]
    veneer.load_recipe(names["recipe_name"], names["settings"])
    names.update(settings=QUICK, folder="runs/demo")  # the run that the pages' examples have
    shown += [shown_by(source, names) for source in sources[1:]]
    pages = [one._repr_html_() for one in shown if hasattr(one, "_repr_html_")]
    assert [page.partition("</b>")[0].removeprefix("<div><b>").split()[0] for page in pages] == [
        "data",
        names["result"].verdict.split()[0],
        "verdict:",
        "LoRA",
    ]
    assert shown[-1].size == shown[-2].size == (64, 64) or shown[-1].size == (128, 128)
