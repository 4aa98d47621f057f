"""The tab Recipe: a form made from the config model, the plan, and TOML in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from veneer.config import Recipe
from veneer.errors import RecipeError
from veneer.recipe import bundled_names, load_recipe, recipe_text, to_toml
from veneer.unused_settings import unused_settings
from veneer.web import busy, late, markup, offers
from veneer.web.messages import guarded
from veneer.web.server.engine import gr
from veneer.web.studio import DEMO, Studio
from veneer.web.tabs.recipe import draft, shortcuts
from veneer.web.tabs.recipe.fields import AS_TEXT, UPFRONT, Field, fields, read_form, values_of
from veneer.web.tabs.recipe.meanings import TABLE_NAMES, help_of, label_of
from veneer.web.tabs.recipe.plan import plan_html, takes_html

MAX_TOML_BYTES = 200_000
_LINE = "recipe"
"""Questions about the form are answered as they were asked: what is told of it last is told of it now."""


@dataclass(frozen=True)
class RecipeTab:
    """The tab's parts.

    Attributes:
        start: Which recipe is the starting point.
        pictures: Which data set of the studio is used.
        asked: Fields in the order of ``parts``.
        parts: Their inputs.
        about: What the starting point says about itself.
        name: Under which name it is saved.
        save: Button that saves it.
        draft: What the browser keeps of the form.
        takes: Minutes and memory of a training.
    """

    start: Any
    pictures: Any
    asked: Sequence[Field]
    parts: Sequence[Any]
    about: Any
    toml: Any
    message: Any
    name: Any
    save: Any
    draft: Any
    takes: Any

    def part(self, name: str) -> Any:
        """The input of a field, by its full name."""
        return self.parts[[field.name for field in self.asked].index(name)]


def build(studio: Studio, kept_draft: Any) -> RecipeTab:
    """Lay out the tab.

    Args:
        kept_draft: Where the browser keeps what is not saved.

    Returns:
        Its parts.
    """
    first = load_recipe(DEMO)  # the form holds it from the start: nothing comes later and writes over it
    with gr.Row():
        start = gr.Dropdown(
            studio.workspace.recipe_names(), value=DEMO, label="Starting point", elem_id="recipe-start",
            info="A bundled or saved recipe.",
        )  # fmt: skip
        pictures = gr.Dropdown(
            [], label="Data set of the studio", elem_id="recipe-dataset",
            info="Its pictures are taken.",
        )  # fmt: skip
        load = gr.UploadButton("Load a TOML file", file_types=[".toml"], elem_id="recipe-load")
    about = gr.HTML(_about(recipe_text(DEMO)), elem_id="recipe-about")
    shortcut = shortcuts.build()
    takes = gr.HTML(elem_id="recipe-takes")
    parts = _parts({field.name: field for field in fields()}, first, studio)
    with gr.Row():
        name = gr.Textbox(label="Save as", placeholder="my-style", max_lines=1, elem_id="recipe-name")
        save = gr.Button("Save", variant="primary", elem_id="recipe-save")
        plan = gr.Button("Show the plan", elem_id="recipe-plan")
    message = gr.HTML(elem_id="recipe-message")
    with gr.Accordion("As TOML", open=False):
        toml = gr.Code(
            to_toml(first), language=None, label="Recipe", elem_id="recipe-toml", interactive=False
        )
    asked, inputs = zip(*parts, strict=True)
    tab = RecipeTab(start, pictures, asked, inputs, about, toml, message, name, save, kept_draft, takes)
    _wire_form(tab, studio)
    look = partial(_look, studio, tab)
    shortcuts.wire(studio, tab, shortcut, look, _LINE)
    out, kept = [*tab.parts, toml, message], _kept(tab)
    planning = guarded(lambda s, *v: _plan(studio, tab, s, v), kept)
    asking = busy.telling(plan.click, "Working out the plan")
    late.mark(asking, planning, [start, *tab.parts], out, line=_LINE)
    loading = guarded(lambda file: _load_file(tab, file), kept[1:])
    sending = busy.telling(load.upload, "Reading the file")
    look(late.bind(sending, loading, [load], [*tab.parts, message], line=_LINE).then)
    return tab


def _parts(known: dict[str, Field], recipe: Recipe, studio: Studio) -> list[tuple[Field, Any]]:
    """The inputs of all fields: what matters in front, the rest folded by table."""
    parts: list[tuple[Field, Any]] = []
    offered = {"base.model": offers.bases(studio.workspace), "caption.model": offers.CAPTIONERS}

    def in_columns(some: Sequence[Field]) -> None:
        with gr.Row(elem_classes="v-fields"):
            shown = values_of(recipe, some)
            for field, one in zip(some, shown, strict=True):
                parts.append((field, part_for(field, one, offered.get(field.name, ()))))

    in_columns([known[name] for name in UPFRONT])
    with gr.Accordion(f"Everything ({len(known)} keys)", open=False, elem_id="recipe-everything"):
        gr.HTML("<p>Every other key of a recipe, by its table; those above are left out here.</p>")
        for table, group in TABLE_NAMES.items():
            rest = [field for field in known.values() if field.table == table and field.name not in UPFRONT]
            with gr.Accordion(f"{group} ({len(rest)} more)", open=False, elem_id=f"more-{table}"):
                in_columns(rest)
    return parts


def part_for(field: Field, shown: Any, choices: Sequence[offers.Offer] = ()) -> Any:
    """The input of a field.

    Args:
        shown: What stands in it at first.
        choices: What can be chosen in place of being written.

    Returns:
        A part of the page.
    """
    about = {
        "label": label_of(field.name),
        "info": help_of(field.name, field.sentence),
        "elem_id": f"field-{field.name.replace('.', '-')}",
    }
    match field.kind:
        case "flag":
            return gr.Checkbox(shown, **about)
        case "choice":
            return gr.Dropdown(list(field.choices), value=shown, **about)
        case "number" if field.name not in AS_TEXT:
            return gr.Number(shown, step=_step(field), placeholder="as usual", **about)
        case "lines" | "pairs":
            return gr.Textbox(shown, lines=2, max_lines=8, **about)
    if choices:
        return gr.Dropdown(list(choices), value=shown, allow_custom_value=True, **about)
    return gr.Textbox(shown, max_lines=1, **about)


def _step(field: Field) -> float:
    """What an arrow key adds: one of whole numbers, a tenth of what is usual of others."""
    usual = field.default
    return abs(usual) / 10 or 0.1 if isinstance(usual, float) else 8 if field.key == "resolution" else 1


def wire(studio: Studio, tab: RecipeTab, page: Any, opened: Any, to_start: Any) -> None:
    """Bring back what was not saved, offer new recipes, and have a saved one be the next to start.

    Args:
        page: The page as a whole.
        opened: Event of the tab being opened.
        to_start: Which recipe the tab Train starts.
    """
    offer = partial(_lists, studio)
    late.mark(opened, offer, None, [tab.start, tab.pictures])
    _tell_what_it_takes(studio, tab, opened)
    base = tab.part("base.model")
    late.mark(opened, lambda: gr.update(choices=offers.bases(studio.workspace)), None, [base])
    saving = guarded(lambda n, *v: _save(studio, tab, n, v), (*_kept(tab), gr.skip()))
    done = late.bind(
        busy.telling(tab.save.click, "Saving the recipe"),
        saving,
        [tab.name, *tab.parts],
        [*tab.parts, tab.toml, to_start, tab.message],
        line=_LINE,
    )
    late.mark(done.then, offer, None, [tab.start, tab.pictures])
    late.bind(
        page.load,
        partial(_brought_back, studio, tab),
        [tab.draft],
        [tab.start, tab.about, *tab.parts],
        line=_LINE,
    )


def _brought_back(studio: Studio, tab: RecipeTab, kept: Any) -> list[Any]:
    """The form as the browser kept it."""
    found = draft.values_in(studio, kept, tab.asked)
    if found is None:
        return [gr.skip()] * (len(tab.parts) + 2)
    start, shown = found
    recipe, faults = _checked(studio, tab, shown)
    about = _about(recipe_text(start)) if start in bundled_names() else ""
    marks = zip(_marks(tab, faults, recipe), shown, strict=True)
    return [start, about, *[{**mark, "value": value} for mark, value in marks]]


def _lists(studio: Studio) -> list[Any]:
    """What the lists of the tab offer now.

    Returns:
        Updates of starting points and data sets.
    """
    return [
        gr.update(choices=studio.workspace.recipe_names()),
        gr.update(choices=studio.workspace.dataset_names()),
    ]


def _wire_form(tab: RecipeTab, studio: Studio) -> None:
    out = [tab.about, *tab.parts, tab.message]
    load = guarded(lambda name: _loaded(studio, tab, name), (gr.skip(),) * (len(out) - 1))
    sources = tab.part("collect.sources")
    how: dict[str, Any] = {"trigger_mode": "always_last", "line": _LINE}
    _look(studio, tab, late.bind(tab.start.input, load, [tab.start], out, **how).then)
    put = late.bind(tab.pictures.input, lambda name: f"datasets/{name}", [tab.pictures], [sources], **how)
    _look(studio, tab, put.then)
    left = [part.input if isinstance(part, gr.Checkbox | gr.Dropdown) else part.blur for part in tab.parts]
    _look(studio, tab, partial(gr.on, left))


def _look(studio: Studio, tab: RecipeTab, moment: Callable[..., Any]) -> None:
    """Have the whole form looked at: marks, the recipe as TOML, and what the browser keeps."""
    looked = late.mark(
        moment, _looker(studio, tab), [tab.start, *tab.parts], [*tab.parts, tab.toml, tab.draft],
        trigger_mode="always_last", line=_LINE,
    )  # fmt: skip
    _tell_what_it_takes(studio, tab, looked.then)


def _tell_what_it_takes(studio: Studio, tab: RecipeTab, moment: Callable[..., Any]) -> None:
    """Have minutes and memory told, in a line of questions of its own: nothing else waits for it."""

    def tell(*shown: Any) -> Any:
        recipe, _ = _checked(studio, tab, shown)
        return gr.skip() if recipe is None else takes_html(studio, recipe)

    late.mark(moment, guarded(tell, None), [*tab.parts], [tab.takes], line="takes")


def _looker(studio: Studio, tab: RecipeTab) -> Callable[..., Any]:
    def look(start: str | None, *shown: Any) -> list[Any]:
        recipe, faults = _checked(studio, tab, shown)
        toml = gr.skip() if recipe is None else to_toml(recipe)
        return [*_marks(tab, faults, recipe), toml, draft.draft_of(studio, start, tab.asked, shown)]

    return look


def _marks(tab: RecipeTab, faults: Mapping[str, str], recipe: Recipe | None) -> list[Any]:
    """Every field's sentence, with what is wrong with it, or what keeps it from acting, before it."""
    unused = {} if recipe is None else {one.key: one.message for one in unused_settings(recipe)}
    marks = []
    for field in tab.asked:
        fault = faults.get(field.name)
        said = help_of(field.name, field.sentence)
        info = f"Does not fit: {fault}. {said}" if fault else said
        if field.name in unused:
            info = f"{unused[field.name]}. {said}"
        marks.append(gr.update(info=info, elem_classes=["v-field-bad"] if fault else []))
    return marks


def _loaded(studio: Studio, tab: RecipeTab, name: str) -> list[Any]:
    path = _path(studio, studio.workspace.recipe(name))
    recipe = load_recipe(path)
    about = _about(recipe_text(path)) if name in bundled_names() else ""
    return [about, *values_of(recipe, tab.asked), ""]


def _about(text: str) -> str:
    """What a bundled recipe says at its top: prose, then lines such as "Hardware: a GPU"."""
    head = [line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), text.splitlines())]
    prose = " ".join(takewhile(bool, head))
    named = [line.partition(":")[::2] for line in head[len(list(takewhile(bool, head))) :] if ":" in line]
    pairs = [(name, value.strip()) for name, value in named if name != "Command"]
    return markup.news(prose) + markup.facts(pairs) if prose else ""


def _load_file(tab: RecipeTab, file: str | None) -> list[Any]:
    if not file:
        raise RecipeError("no file was sent", todo="Choose a TOML file")
    if Path(file).stat().st_size > MAX_TOML_BYTES:
        raise RecipeError(
            "the file is too large for a recipe", where=Path(file).name, todo="Choose a TOML file"
        )
    try:
        recipe = load_recipe(file)
    except RecipeError as error:  # by the name that the user knows, not by the place of the upload
        own = [text.replace(file, Path(file).name) for text in (error.what, error.where, error.todo)]
        raise RecipeError(own[0], where=own[1], todo=own[2]) from error
    told = markup.news(f"{Path(file).name} is loaded; save it under a name to run it.", "good")
    return [*values_of(recipe, tab.asked), told]


def _checked(studio: Studio, tab: RecipeTab, shown: Sequence[Any]) -> tuple[Recipe | None, Mapping[str, str]]:
    """The recipe in the form, None where something does not fit or leads out of the workspace."""
    recipe, faults = read_form(tab.asked, shown)
    if recipe is not None:
        faults = studio.workspace.faults(recipe)
    return None if faults else recipe, faults


def _read(studio: Studio, tab: RecipeTab, shown: Sequence[Any]) -> tuple[Recipe | None, list[Any], str]:
    recipe, faults = _checked(studio, tab, shown)
    lines = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
    told = (
        markup.failure(f"{len(faults)} fields do not fit: {lines}", "Mend what is marked") if faults else ""
    )
    if recipe is not None:
        told = "".join(markup.news(one.message, "warn") for one in unused_settings(recipe))
    return recipe, _marks(tab, faults, recipe), told


def _save(studio: Studio, tab: RecipeTab, name: str, shown: Sequence[Any]) -> list[Any]:
    recipe, marks, told = _read(studio, tab, shown)
    if recipe is None:
        return [*marks, gr.skip(), gr.skip(), told]
    path = studio.workspace.save_recipe(name, to_toml(recipe))
    told = markup.news(f"Saved as {path.stem}. It is the next to start, on the tab Train.", "good") + told
    command = ["run", studio.workspace.spelled(path), "--out", f"runs/{path.stem}"]
    next_one = gr.update(choices=studio.workspace.recipe_names(), value=path.stem)
    return [*marks, to_toml(recipe), next_one, told + markup.command(command)]


def _plan(studio: Studio, tab: RecipeTab, start: str | None, shown: Sequence[Any]) -> list[Any]:
    recipe, marks, told = _read(studio, tab, shown)
    if recipe is None:
        return [*marks, gr.skip(), told]
    plan = told + plan_html(studio, recipe) + _plan_command(studio, start, recipe)
    return [*marks, to_toml(recipe), plan]


def _plan_command(studio: Studio, start: str | None, recipe: Recipe) -> str:
    """How a shell shows the plan: by the starting point, where the form says the same as it."""
    spelled = studio.workspace.recipe(start or DEMO)
    if load_recipe(_path(studio, spelled)) != recipe:
        return markup.news("Save the recipe to see its plan in a shell, or to start it on the tab Train.")
    return markup.command(["run", spelled, "--dry-run"])


def _path(studio: Studio, spelled: str) -> str:
    return str(studio.workspace.root / spelled) if spelled.endswith(".toml") else spelled


def _kept(tab: RecipeTab) -> tuple[Any, ...]:
    return (gr.skip(),) * (len(tab.parts) + 1)
