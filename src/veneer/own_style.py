"""A recipe turned to pictures and a style of one's own: the words that call the style change in every place.

A bundled recipe says what its pictures look like in its caption prefix, and asks for the same in its prompts.
Whoever brings watercolours must not have them captioned, and judged, as 8-bit illustrations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from veneer.errors import RecipeError

MOST_WORDS = 20
"""Words of a style: CLIP reads 77 tokens, and the picture itself has to be described too."""
ADVERBIAL = ("in ", "by ", "with ", "from ", "as ")
"""Beginnings of a style that cannot stand before "of"."""


def for_own_pictures(tables: Mapping[str, Any], pictures: Sequence[str], style: str) -> dict[str, Any]:
    """Tables of a recipe for other pictures and another style.

    Args:
        tables: Settings by table and key, as a recipe has them.
        pictures: Sources in place of the recipe's; none leaves these.
        style: What the pictures are, such as "watercolour painting"; empty leaves the recipe's words.

    Returns:
        The tables: sources, caption prefix, and every prompt, which begins with the new prefix.

    Raises:
        RecipeError: If pictures come without the words for their style where the recipe names another style,
            or the style is longer than captions have room for.
    """
    own: dict[str, Any] = {name: dict(table) for name, table in tables.items()}
    generate = own.get("generate", {})
    prompts = _listed(generate.get("prompts", ()))
    old = str(own.get("caption", {}).get("prefix", "")) or _opening(prompts)
    if pictures:
        if old and not style.strip():
            raise RecipeError(
                f"the recipe asks for {old!r} something, and these pictures may be nothing of the kind",
                where="--pictures",
                todo='Say what they are, such as --style "watercolour painting"',
            )
        own["collect"] = {**own.get("collect", {}), "sources": list(pictures)}
    if not style.strip():
        return own
    prefix = prefix_of(style)
    own["caption"] = {**own.get("caption", {}), "prefix": prefix}
    if prompts:
        own["generate"] = {**generate, "prompts": [_with_prefix(prompt, old, prefix) for prompt in prompts]}
    return own


def prefix_of(style: str) -> str:
    """Words that a caption of this style begins with, such as "watercolour painting of".

    Raises:
        RecipeError: If the style is longer than captions have room for.
    """
    words = style.split()
    if len(words) > MOST_WORDS:
        raise RecipeError(
            f"a style of {len(words)} words leaves no room in a caption for the picture",
            where="--style",
            todo=f"Name it in a few words, {MOST_WORDS} at most",
        )
    text = " ".join(words)
    if text.lower().startswith(ADVERBIAL):
        return f"a picture {text} of"
    return text if text.endswith((" of", ",")) else f"{text} of"


def folder_name(style: str) -> str:
    """Name of a run folder, and so of its LoRA file: letters and digits of the style, joined by dashes."""
    return "-".join(re.findall(r"\w+", style.lower()))[:60] or "own"


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _opening(prompts: Sequence[str]) -> str:
    """What all prompts begin with, up to the first "of", such as "8-bit illustration of"; "" for nothing."""
    found = {prompt[: prompt.find(" of ") + 3] if " of " in prompt else "" for prompt in prompts}
    return found.pop() if len(found) == 1 else ""


def _with_prefix(prompt: str, old: str, prefix: str) -> str:
    rest = prompt[len(old) :] if old and prompt.startswith(old) else prompt
    return f"{prefix} {rest.strip()}"
