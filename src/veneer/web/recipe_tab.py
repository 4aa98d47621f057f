"""The tab Recipe: a form made from the config model, the plan, and TOML in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer.config import Recipe
from veneer.errors import RecipeError
from veneer.recipe import bundled_names, load_recipe, recipe_text, to_toml
from veneer.web import markup
from veneer.web.engine import gr
from veneer.web.fields import UPFRONT, Field, fields, read_form, values_of
from veneer.web.messages import guarded
from veneer.web.plan_view import plan_html
from veneer.web.studio import DEMO, Studio

MAX_TOML_BYTES = 200_000


@dataclass(frozen=True)
class RecipeTab:
    """The tab's parts.

    Attributes:
        start: Which recipe is the starting point.
        pictures: Which data set of the studio is used.
        asked: Fields in the order of ``parts``.
        parts: Their inputs.
        about: What the starting point says about itself.
        toml: The recipe as TOML.
        message: What the last button said.
    """

    start: Any
    pictures: Any
    asked: Sequence[Field]
    parts: Sequence[Any]
    about: Any
    toml: Any
    message: Any


def build(studio: Studio) -> RecipeTab:
    """Lay out the tab.

    Args:
        studio: The studio.

    Returns:
        Its parts.
    """
    known = {field.name: field for field in fields()}
    with gr.Row():
        start = gr.Dropdown(
            [], label="Starting point", elem_id="recipe-start", info="A bundled or saved recipe."
        )
        pictures = gr.Dropdown(
            [], label="Data set of the studio", elem_id="recipe-dataset", info="Puts it into sources."
        )
        load = gr.UploadButton("Load a TOML file", file_types=[".toml"], elem_id="recipe-load")
    about = gr.HTML(elem_id="recipe-about")
    parts: dict[str, Any] = {}
    for first in range(0, len(UPFRONT), 2):
        with gr.Row():
            for name in UPFRONT[first : first + 2]:
                parts[name] = part_for(known[name])
    for table in Recipe.model_fields:
        with gr.Accordion(f"More of {table}", open=False, elem_id=f"more-{table}"):
            rest = [field for field in known.values() if field.table == table and field.name not in parts]
            for first in range(0, len(rest), 2):
                with gr.Row():
                    for field in rest[first : first + 2]:
                        parts[field.name] = part_for(field)
    message = gr.HTML(elem_id="recipe-message")
    with gr.Row():
        name = gr.Textbox(label="Save as", placeholder="my-style", elem_id="recipe-name")
        save = gr.Button("Save", variant="primary", elem_id="recipe-save")
        plan = gr.Button("Show the plan", elem_id="recipe-plan")
    with gr.Accordion("As TOML", open=False):
        toml = gr.Code(language=None, label="Recipe", elem_id="recipe-toml", interactive=False)
    tab = RecipeTab(
        start, pictures, [known[key] for key in parts], list(parts.values()), about, toml, message
    )
    _wire_form(tab, studio)
    save.click(
        guarded(lambda n, *v: _save(studio, tab, n, v), _kept(tab)),
        [name, *tab.parts],
        [*tab.parts, toml, message],
    )
    plan.click(
        guarded(lambda s, *v: _plan(studio, tab, s, v), _kept(tab)),
        [start, *tab.parts],
        [*tab.parts, toml, message],
    )
    load.upload(guarded(lambda file: _load_file(tab, file), _kept(tab)), [load], [*tab.parts, toml, message])
    return tab


def part_for(field: Field) -> Any:
    """The input of a field.

    Args:
        field: The field.

    Returns:
        A part of the page.
    """
    about = {"label": field.name, "info": field.sentence, "elem_id": f"field-{field.name.replace('.', '-')}"}
    shown = field.shown(field.default)
    match field.kind:
        case "flag":
            return gr.Checkbox(shown, **about)
        case "choice":
            return gr.Dropdown(list(field.choices), value=shown, **about)
        case "lines" | "pairs":
            return gr.Textbox(shown, lines=2, max_lines=8, **about)
    return gr.Textbox(shown, max_lines=1, **about)


def wire(studio: Studio, tab: RecipeTab, page: Any, opened: Any) -> None:
    """Fill the tab when the page is opened.

    Args:
        studio: The studio.
        tab: Its parts.
        page: The page as a whole.
        opened: Event of the tab being opened: new recipes and data sets are then offered.
    """

    def fill() -> list[Any]:
        recipes = studio.workspace.recipe_names()
        first = DEMO if DEMO in recipes else recipes[0]
        lists = [gr.update(choices=recipes, value=first), gr.update(choices=studio.workspace.dataset_names())]
        return [*lists, *_loaded(studio, tab, first)]

    out = [tab.start, tab.pictures, tab.about, *tab.parts, tab.toml, tab.message]
    page.load(guarded(fill, (gr.skip(),) * (len(out) - 1)), None, out, show_progress="hidden")
    opened(lambda: lists(studio), None, [tab.start, tab.pictures], show_progress="hidden")


def lists(studio: Studio) -> list[Any]:
    """What the lists of the tab offer now.

    Args:
        studio: The studio.

    Returns:
        Updates of starting points and data sets.
    """
    return [
        gr.update(choices=studio.workspace.recipe_names()),
        gr.update(choices=studio.workspace.dataset_names()),
    ]


def _wire_form(tab: RecipeTab, studio: Studio) -> None:
    out = [tab.about, *tab.parts, tab.toml, tab.message]
    fails = (gr.skip(),) * (len(out) - 1)
    tab.start.input(
        guarded(lambda name: _loaded(studio, tab, name), fails), [tab.start], out, show_progress="hidden"
    )
    sources = tab.parts[[field.name for field in tab.asked].index("collect.sources")]
    tab.pictures.input(lambda name: f"datasets/{name}", [tab.pictures], [sources], show_progress="hidden")
    for field, part in zip(tab.asked, tab.parts, strict=True):
        leaves = part.blur if field.kind not in {"flag", "choice"} else part.input
        leaves(_looker(tab), list(tab.parts), [*tab.parts, tab.toml], show_progress="hidden")


def _looker(tab: RecipeTab) -> Callable[..., Any]:
    def look(*shown: Any) -> list[Any]:
        recipe, faults = read_form(tab.asked, shown)
        return [*_marks(tab, faults), gr.skip() if recipe is None else to_toml(recipe)]

    return look


def _marks(tab: RecipeTab, faults: Any) -> list[Any]:
    """Every field's sentence, or what is wrong with it in its place."""
    marks = []
    for field in tab.asked:
        fault = faults.get(field.name)
        info = f"Does not fit: {fault}. {field.sentence}" if fault else field.sentence
        marks.append(gr.update(info=info, elem_classes=["v-field-bad"] if fault else []))
    return marks


def _loaded(studio: Studio, tab: RecipeTab, name: str) -> list[Any]:
    spelled = studio.workspace.recipe(name)
    path = str(studio.workspace.root / spelled) if spelled.endswith(".toml") else spelled
    recipe = load_recipe(path)
    comments = [line.lstrip("# ") for line in recipe_text(path).splitlines() if line.startswith("#")]
    about = markup.news(" ".join(comments)) if name in bundled_names() and comments else ""
    return [about, *_shown(tab, recipe), to_toml(recipe), ""]


def _shown(tab: RecipeTab, recipe: Recipe) -> list[Any]:
    values = values_of(recipe, tab.asked)
    return [
        gr.update(value=value, info=field.sentence, elem_classes=[])
        for field, value in zip(tab.asked, values, strict=True)
    ]


def _load_file(tab: RecipeTab, file: str) -> list[Any]:
    if Path(file).stat().st_size > MAX_TOML_BYTES:
        raise RecipeError(
            "the file is too large for a recipe", where=Path(file).name, todo="Choose a TOML file"
        )
    recipe = load_recipe(file)
    told = markup.news(f"{Path(file).name} is loaded; save it under a name to run it.", "good")
    return [*_shown(tab, recipe), to_toml(recipe), told]


def _read(tab: RecipeTab, shown: Sequence[Any]) -> tuple[Recipe | None, list[Any], str]:
    recipe, faults = read_form(tab.asked, shown)
    lines = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
    told = (
        markup.failure(f"{len(faults)} fields do not fit: {lines}", "Mend what is marked") if faults else ""
    )
    return recipe, _marks(tab, faults), told


def _save(studio: Studio, tab: RecipeTab, name: str, shown: Sequence[Any]) -> list[Any]:
    recipe, marks, told = _read(tab, shown)
    if recipe is None:
        return [*marks, gr.skip(), told]
    path = studio.workspace.save_recipe(name, to_toml(recipe))
    told = markup.news(f"Saved as {path.stem}. Start it on the tab Train.", "good")
    command = ["run", studio.workspace.spelled(path), "--out", f"runs/{path.stem}"]
    return [*marks, to_toml(recipe), told + markup.command(command)]


def _plan(studio: Studio, tab: RecipeTab, start: str | None, shown: Sequence[Any]) -> list[Any]:
    recipe, marks, told = _read(tab, shown)
    if recipe is None:
        return [*marks, gr.skip(), told]
    return [
        *marks,
        to_toml(recipe),
        plan_html(studio, recipe) + markup.command(["run", start or DEMO, "--dry-run"]),
    ]


def _kept(tab: RecipeTab) -> tuple[Any, ...]:
    return (gr.skip(),) * (len(tab.parts) + 1)
