"""What LoRA files say about themselves: diffusers' settings, kohya's `ss_*` and `modelspec.*` keys."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from veneer.errors import AdapterError
from veneer.lora.keys import OWN_BASE, OWN_PREDICTION_TYPE, OWN_RECIPE, OWN_STEP, OWN_VERSION
from veneer.lora.kinds import family_of
from veneer.lora.names import LORA_NETWORKS, network_of
from veneer.lora.weights import LoraFile
from veneer.models.families.sd import SD1, SD2
from veneer.patterns import pattern, plain_name

DIFFUSERS_KEY = "lora_adapter_metadata"
MAX_PATTERNS = 32
"""Most patterns of one file that are more than names; each may take half a second."""


def adapter_metadata(ranks: Mapping[str, int], alphas: Mapping[str, float], use_dora: bool) -> dict[str, Any]:
    """Settings from which diffusers builds the adapter again.

    Args:
        ranks: Rank by module; modules of a text encoder begin with its name, such as ``text_encoder.``.
        alphas: Alpha by module.

    Returns:
        Arguments of peft's `LoraConfig`, each with the prefix of its network.
    """
    settings: dict[str, Any] = {}
    for network in sorted({network_of(module)[0] for module in ranks}, key=LORA_NETWORKS.index):
        own = {
            network_of(module)[1]: (ranks[module], alphas[module])
            for module in sorted(ranks)
            if network_of(module)[0] == network
        }
        rank = Counter(rank for rank, _ in own.values()).most_common(1)[0][0]
        alpha = Counter(alpha for _, alpha in own.values()).most_common(1)[0][0]
        config = {
            "r": rank,
            "lora_alpha": alpha,
            "target_modules": list(own),
            "rank_pattern": {
                f"^{re.escape(name)}": value for name, (value, _) in own.items() if value != rank
            },
            "alpha_pattern": {
                f"^{re.escape(name)}": value for name, (_, value) in own.items() if value != alpha
            },
            "use_dora": use_dora,
        }
        settings |= {f"{network}.{key}": value for key, value in config.items()}
    return settings


def alphas_of_metadata(settings: Mapping[str, Any], ranks: Mapping[str, int]) -> dict[str, float]:
    """Alpha of each module, as diffusers' settings say it.

    Args:
        settings: What `adapter_metadata` gives, or diffusers itself wrote.

    Returns:
        Alpha by module such that alpha / rank is the factor, rank-stabilised or not.

    Raises:
        VeneerError: If a pattern is not understood, or takes too long.
    """
    alphas = {}
    _refuse_many(settings)
    for module, rank in ranks.items():
        network, name = network_of(module)
        prefix = f"{network}."
        own = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
        alpha = float(own.get("lora_alpha", rank))
        for text, value in (own.get("alpha_pattern") or {}).items():
            if names_layer(text, name):
                alpha = float(value)
                break
        alphas[module] = alpha * rank**0.5 if own.get("use_rslora") else alpha
    return alphas


def names_layer(text: str, name: str) -> bool:
    """Whether a pattern of a LoRA file means a layer; peft runs such patterns with `re`, which may never end.

    Args:
        text: The pattern: mostly a name, or the end of one.
        name: Full name of the layer.

    Raises:
        VeneerError: If the pattern is not understood, or takes too long.
    """
    plain = plain_name(text)
    if plain is None:
        return pattern(text).ends(name)
    return name == plain or (not text.startswith("^") and name.endswith(f".{plain}"))


def _refuse_many(settings: Mapping[str, Any]) -> None:
    texts = [text for key, value in settings.items() if key.endswith("alpha_pattern") for text in value or ()]
    patterns = sum(plain_name(text) is None for text in texts)
    if patterns > MAX_PATTERNS:
        what = f"its settings hold {patterns} patterns of layers' names; {MAX_PATTERNS} are read at most"
        raise AdapterError(what, where=DIFFUSERS_KEY)


def kohya_metadata(lora: LoraFile, title: str) -> dict[str, str]:
    """Keys that A1111, ComfyUI, Forge and model managers read.

    Args:
        lora: The adapter, with Veneer's own metadata where it has any.
        title: Name of the file.

    Returns:
        Text by key; no date, so that the same weights give the same bytes.
    """
    own = lora.metadata
    recipe = _recipe(own.get(OWN_RECIPE, ""))
    family = family_of(lora.state, own) or SD1
    predicts_v = own.get(OWN_PREDICTION_TYPE) == "v_prediction"
    resolution = recipe.get("encode", {}).get("resolution", family.lora.native_px[predicts_v])
    text = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(lora.rank),
        "ss_network_alpha": str(float(lora.alpha)),
        "ss_base_model_version": family.lora.version[predicts_v],
        "ss_v2": str(family is SD2),
        "ss_sd_model_name": own.get(OWN_BASE, ""),
        "ss_output_name": title,
        "ss_resolution": f"({resolution}, {resolution})",
        "ss_steps": own.get(OWN_STEP, ""),
        "ss_seed": str(recipe.get("train", {}).get("seed", "")),
        "ss_learning_rate": str(recipe.get("train", {}).get("learning_rate", "")),
        "ss_training_comment": f"veneer {own.get(OWN_VERSION, '')}".strip(),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{family.lora.architecture[predicts_v]}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.resolution": f"{resolution}x{resolution}",
        "modelspec.prediction_type": "" if family.lora.native else "v" if predicts_v else "epsilon",
        "modelspec.trigger_phrase": recipe.get("caption", {}).get("trigger", ""),
        "modelspec.description": f"LoRA for {own[OWN_BASE]}" if OWN_BASE in own else "",
    }
    if lora.use_dora:
        text["ss_network_args"] = '{"dora_wd": "True"}'
    return {key: value for key, value in text.items() if value}


def _recipe(toml: str) -> dict[str, Any]:
    try:
        return tomllib.loads(toml)
    except tomllib.TOMLDecodeError:
        return {}
