"""Settings of a recipe that do not act, as far as the recipe itself shows it.

Only settings that were changed count: a default that plays no part in a recipe is no surprise. What is wrong
beyond doubt is refused when the recipe is resolved (`veneer.config.Recipe`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from veneer.config import CaptionTable, EncodeTable, GenerateTable, LoraTable, Recipe, Table, TrainTable
from veneer.events import Notice
from veneer.hubnames import is_tagger

OF_LAYERS = ("rank", "lora_alpha", "init", "dropout", "use_rslora", "use_dora", "rank_pattern")
"""Settings of a LoRA's layers, which act where there are any."""
OF_WORD = ("embedding_vectors", "embedding_init")
OF_SNR = ("min_snr", "soft_min_snr")
"""Loss weightings that read `train.snr_gamma`."""


@dataclass(frozen=True)
class Unused:
    """A setting that does not act.

    Attributes:
        key: Its name, such as "train.snr_gamma".
        why: What keeps it from acting.
        is_weak: Whether it acts a little, and hardly as it is meant.
    """

    key: str
    why: str
    is_weak: bool = False

    @property
    def message(self) -> str:
        """One line for people."""
        return f"{self.key} {'hardly acts' if self.is_weak else 'does not act'}: {self.why}"

    @property
    def notice(self) -> Notice:
        """The same, told by the stage that reads the setting."""
        table = self.key.partition(".")[0]
        return Notice("train" if table == "lora" else table, "setting-idle", self.message)


def unused_settings(recipe: Recipe) -> list[Unused]:
    """Every setting that does not act in this recipe, whatever the base and the pictures are."""
    found = (
        _of_lora(recipe.lora),
        _of_rate(recipe.train),
        _of_loss(recipe),
        _of_judging(recipe.train),
        _of_generate(recipe.generate),
        _of_tags(recipe.encode),
        _of_tagger(recipe.caption),
        _of_compare(recipe),
    )
    return [Unused(key, why) for part in found for key, why in part] + list(_weak(recipe.train))


def changed_keys(table: Table, keys: tuple[str, ...]) -> list[str]:
    """Those of some keys that are not at their default."""
    fields = type(table).model_fields
    return [key for key in keys if getattr(table, key) != fields[key].get_default(call_default_factory=True)]


def _of_lora(lora: LoraTable) -> Iterator[tuple[str, str]]:
    if lora.target_modules == "none":
        keys = () if lora.text_encoder else OF_LAYERS
        for key in changed_keys(lora, (*keys, "timestep_rank")):
            yield f"lora.{key}", "lora.target_modules is none"
    if lora.method:
        idle = ("init", "dropout", "lora_alpha") if lora.method == "oft" else ("init", "dropout")
        for key in changed_keys(lora, idle):
            yield f"lora.{key}", f"lora.method is {lora.method}"
    if not lora.embedding_token:
        for key in changed_keys(lora, OF_WORD):
            yield f"lora.{key}", "lora.embedding_token names no word"


def _of_rate(train: TrainTable) -> Iterator[tuple[str, str]]:
    if train.optimizer == "schedulefree":
        if not train.lr_scheduler.startswith("constant"):
            yield "train.lr_scheduler", "schedulefree keeps the rate constant"
    elif train.lr_warmup_steps and train.lr_scheduler == "constant":
        yield "train.lr_warmup_steps", 'train.lr_scheduler is constant; "constant_with_warmup" rises first'


def _weak(train: TrainTable) -> Iterator[Unused]:
    if train.lr_warmup_steps >= train.max_train_steps:
        why = f"the rate rises over {train.lr_warmup_steps} steps, and train.max_train_steps ends that"
        yield Unused("train.lr_scheduler", why, is_weak=True)
    if train.optimizer == "prodigy" and train.learning_rate < 0.1:
        why = f"{train.learning_rate} multiplies the rate that prodigy finds itself; 1.0 is its usual value"
        yield Unused("train.learning_rate", why, is_weak=True)


def _of_tags(encode: EncodeTable) -> Iterator[tuple[str, str]]:
    if encode.tag_variants is None:
        for key in changed_keys(encode, ("tag_keep", "tag_dropout")):
            yield f"encode.{key}", "encode.tag_variants says no number of orders"


def _of_tagger(caption: CaptionTable) -> Iterator[tuple[str, str]]:
    if not is_tagger(caption.model):
        for key in changed_keys(caption, ("tag_threshold", "character_threshold", "tag_rating")):
            yield f"caption.{key}", "caption.model is no tagger"


def _of_loss(recipe: Recipe) -> Iterator[tuple[str, str]]:
    train = recipe.train
    if changed_keys(train, ("snr_gamma",)) and train.loss_weighting not in OF_SNR:
        yield "train.snr_gamma", f"train.loss_weighting is {train.loss_weighting}"
    if train.prior_sources and not train.prior_loss_weight:
        yield "train.prior_sources", "train.prior_loss_weight is 0"
    if train.prior_loss_weight and not train.prior_sources and recipe.lora.target_modules == "none":
        yield "train.prior_loss_weight", "the UNet has no adapter that could be switched off"


def _of_judging(train: TrainTable) -> Iterator[tuple[str, str]]:
    if not train.validation_share:
        for key in changed_keys(train, ("patience",)):
            yield f"train.{key}", "train.validation_share is 0: no picture is held out"


def _of_generate(generate: GenerateTable) -> Iterator[tuple[str, str]]:
    if generate.negative_prompt and generate.guidance_scale == 1:
        yield "generate.negative_prompt", "generate.guidance_scale is 1, which is no guidance"


def _of_compare(recipe: Recipe) -> Iterator[tuple[str, str]]:
    if recipe.compare.scales and changed_keys(recipe.compare, ("scale",)):
        yield "compare.scale", "compare.scales names several to choose from"
    is_asked = changed_keys(recipe.compare, ("held_out_prompts",)) and recipe.compare.held_out_prompts
    if is_asked and not recipe.train.validation_share:
        yield "compare.held_out_prompts", "train.validation_share is 0: no picture is held out"
