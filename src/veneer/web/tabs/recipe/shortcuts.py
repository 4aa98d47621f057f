"""Buttons that fill several fields of the form at once: an effort, and a style of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from veneer.errors import RecipeError
from veneer.own_style import folder_name, for_own_pictures
from veneer.web import late, markup
from veneer.web.messages import guarded
from veneer.web.server.engine import gr
from veneer.web.studio import DEMO, Studio
from veneer.web.tabs.recipe.effort import EFFORT_KEYS, MEANING, Effort, told, with_effort
from veneer.web.tabs.recipe.fields import Field

STYLE_KEYS = ("caption.prefix", "generate.prompts")
"""What the words for a style are put into."""


@dataclass(frozen=True)
class Shortcuts:
    """Their parts.

    Attributes:
        style: What the pictures are.
        use: Button that puts it into the fields.
        efforts: Buttons, by effort.
        message: What they did.
    """

    style: Any
    use: Any
    efforts: dict[Effort, Any]
    message: Any


def build() -> Shortcuts:
    """Lay them out."""
    with gr.Row(elem_classes="v-tools"):
        style = gr.Textbox(
            label="What your pictures are", placeholder="watercolour painting", max_lines=1,
            info="A few words for the style, put before captions and prompts.", elem_id="recipe-style",
        )  # fmt: skip
        use = gr.Button("Use these words", elem_id="recipe-use-style")
    with gr.Row(elem_classes="v-tools"):
        efforts: dict[Effort, Any] = {
            effort: gr.Button(effort, size="md", elem_id=f"recipe-{effort.lower()}")
            for effort in get_args(Effort)
        }
    said = " ".join(f"<b>{effort}</b>: {meaning}." for effort, meaning in MEANING.items())
    gr.HTML(f'<p class="v-quiet">{said}</p>', elem_id="recipe-efforts")
    message = gr.HTML(elem_id="recipe-filled")
    return Shortcuts(style, use, efforts, message)


def wire(
    studio: Studio, tab: Any, parts: Shortcuts, look: Callable[[Callable[..., Any]], None], line: str
) -> None:
    """Have the buttons fill the form.

    Args:
        tab: The tab's parts.
        look: Has the whole form looked at after an event.
        line: The line in which questions about the form are answered.
    """
    by_name = {field.name: (field, part) for field, part in zip(tab.asked, tab.parts, strict=True)}
    asked, fields = zip(*(by_name[name] for name in EFFORT_KEYS), strict=True)
    fails = (gr.skip(),) * len(fields)
    for effort, button in parts.efforts.items():
        done = late.bind(
            button.click, guarded(_filler(studio, asked, effort), fails), [tab.start],
            [*fields, parts.message], line=line,
        )  # fmt: skip
        look(done.then)
    styled, words = zip(*(by_name[name] for name in STYLE_KEYS), strict=True)
    for moment in (parts.use.click, parts.style.submit):
        done = late.bind(
            moment,
            guarded(lambda style, name, *shown: styled_fields(styled, style, name, shown), (gr.skip(),) * 3),
            [parts.style, tab.name, *words],
            [*words, tab.name, parts.message],
            line=line,
        )
        look(done.then)


def styled_fields(asked: Sequence[Field], style: str, name: str, shown: Sequence[Any]) -> tuple[Any, ...]:
    """Prefix and prompts with the words for a style, and a name where none is written.

    Args:
        asked: The two fields.
        name: Under which the recipe is to be saved.
        shown: What stands in the fields.

    Returns:
        What stands in the fields then, the name, and a message.

    Raises:
        RecipeError: If there are no words, or more than a caption has room for.
    """
    if not style.strip():
        raise RecipeError("no words for the style", todo="Write what your pictures are, such as pixel art")
    prefix, prompts = asked
    tables = {"caption": {"prefix": prefix.read(shown[0])}, "generate": {"prompts": prompts.read(shown[1])}}
    own = for_own_pictures(tables, (), style)
    told = f"Captions and prompts begin with “{own['caption']['prefix']}” now."
    return (
        prefix.shown(own["caption"]["prefix"]),
        prompts.shown(own.get("generate", {}).get("prompts", ())),
        gr.skip() if name.strip() else folder_name(style),
        markup.news(told, "good"),
    )


def _filler(studio: Studio, asked: Sequence[Field], effort: Effort) -> Callable[..., tuple[Any, ...]]:
    def fill(start: str | None) -> tuple[Any, ...]:
        recipe = studio.recipe(studio.workspace.recipe(start or DEMO))
        values = with_effort(recipe, effort)
        return *(one.shown(values[one.name]) for one in asked), markup.news(told(recipe, effort), "good")

    return fill
