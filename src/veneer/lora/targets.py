"""Which layers get an adapter, and of which rank: named sets, endings, and patterns."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from torch import nn

from veneer.config import LoraTable
from veneer.errors import RecipeError
from veneer.models.families import Family, family_of_network
from veneer.patterns import pattern

TEXT_ENCODER = ("q_proj", "k_proj", "v_proj", "out_proj")


def target_names(module: nn.Module, lora: LoraTable) -> tuple[str, ...]:
    """Names of the layers that a recipe puts an adapter on.

    Args:
        module: The UNet or the text encoder.
        lora: The adapter's settings.

    Returns:
        Full names of linear and convolution layers, sorted.

    Raises:
        RecipeError: If nothing matches, or an ending of the user's list matches nothing.
    """
    candidates = [name for name, part in module.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    is_text = is_text_encoder(module)
    family = family_of_network(module)
    endings = TEXT_ENCODER if is_text else target_endings(lora, family)
    if family.lora.native and not is_text:  # whose files have names for these layers alone
        candidates = [name for name in candidates if family.lora.layers.fullmatch(name)]
    chosen = {ending: [name for name in candidates if ends_with(name, ending)] for ending in endings}
    for ending, names in chosen.items():
        if not names and not isinstance(lora.target_modules, str):
            raise _no_match(ending, candidates)
    return tuple(sorted({name for names in chosen.values() for name in names}))


def target_endings(lora: LoraTable, family: Family) -> tuple[str, ...]:
    """Module-name endings of a target set.

    Args:
        lora: The adapter's settings.
        family: Of the base.

    Returns:
        Endings of the denoiser's layers.
    """
    if lora.target_modules == "none":
        return ()
    if isinstance(lora.target_modules, str):
        return tuple(family.targets[lora.target_modules])
    return tuple(lora.target_modules)


def module_ranks(names: Sequence[str], lora: LoraTable) -> dict[str, int]:
    """Rank of each adapted layer.

    Args:
        names: Full names of the layers.
        lora: The adapter's settings; a key of `rank_pattern` is an ending or a regular expression.

    Returns:
        Rank by name; of several patterns that match, the first one counts.

    Raises:
        RecipeError: If a pattern matches no layer.
    """
    ranks = dict.fromkeys(names, lora.rank)
    for text, rank in reversed(lora.rank_pattern.items()):
        meant = pattern(text)
        matched = [name for name in names if meant.ends(name) or meant.begins(name)]
        if not matched and not _is_for_other_network(text, names, lora):
            raise _no_match(text, names, key="lora.rank_pattern")
        ranks |= dict.fromkeys(matched, rank)
    return ranks


def is_text_encoder(module: nn.Module) -> bool:
    """Tell a text encoder from a UNet.

    Args:
        module: One of the two.

    Returns:
        True for CLIP's text encoder.
    """
    return type(module).__name__.startswith("CLIPText")


def ends_with(name: str, ending: str) -> bool:
    """Tell whether a module's name ends with whole parts.

    Args:
        name: Full name.
        ending: One or more parts, such as ``to_out.0``.

    Returns:
        True where the name is the ending, or ends with a dot and the ending.
    """
    return name == ending or name.endswith(f".{ending}")


def _is_for_other_network(text: str, names: Sequence[str], lora: LoraTable) -> bool:
    """Whether a rank's pattern may mean the other of UNet and text encoder."""
    is_text = any(ends_with(name, ending) for name in names for ending in TEXT_ENCODER)
    return is_text or (lora.text_encoder and any(pattern(text).searches(ending) for ending in TEXT_ENCODER))


def _no_match(ending: str, names: Sequence[str], key: str = "lora.target_modules") -> RecipeError:
    endings = {".".join(name.split(".")[-count:]) for name in names for count in (1, 2, 3)}
    near = difflib.get_close_matches(ending, sorted(endings), n=3, cutoff=0.4)
    hint = f"Nearest: {', '.join(near)}" if near else "`attention` names the usual layers"
    return RecipeError(f"no layer's name ends with `{ending}`", where=key, todo=hint)
