"""What the fields that matter mean to a person: a label with its unit, and what to do with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """What a key is called on the page.

    Attributes:
        label: In a person's words, with the unit where it has one.
        advice: What to choose, and what it costs.
    """

    label: str
    advice: str


KEY_MEANINGS: Mapping[str, Meaning] = {
    "base.model": Meaning(
        "Base model",
        "What is customised. Choose one, or write a hub name, a folder or a .safetensors file.",
    ),
    "collect.sources": Meaning(
        "Pictures from",
        "One a line: a folder, openverse:QUERY (licences known), bing:QUERY, hf:NAME, pocket.",
    ),
    "caption.model": Meaning(
        "Captioner",
        "Describes pictures that have no caption; words that a person wrote stay.",
    ),
    "caption.prefix": Meaning(
        "Words before every caption",
        "Name the style: the same words call it in a prompt later.",
    ),
    "encode.resolution": Meaning(
        "Training resolution (pixels)",
        "Side of the square: 512 for Stable Diffusion 1.5, 1024 for SDXL. More takes more memory.",
    ),
    "lora.rank": Meaning(
        "Rank of the LoRA",
        "How much it can learn: 4 to 16 for a style, 16 to 32 for a character. More makes a larger file.",
    ),
    "train.max_train_steps": Meaning(
        "Training steps",
        "More learn more, until the pictures are learnt by heart; the held-out loss shows when.",
    ),
    "train.train_batch_size": Meaning(
        "Pictures at a time",
        "More make steadier steps, and take more memory and time a step.",
    ),
    "train.learning_rate": Meaning(
        "Learning rate (peak)",
        "0.0001 is usual; ten times that breaks most bases, the small bundled one excepted.",
    ),
    "train.optimizer": Meaning(
        "Optimizer",
        "adamw is safe. adamw8bit takes less memory, prodigy finds its own rate (then write 1 as the rate).",
    ),
    "generate.prompts": Meaning(
        "Prompts to draw and judge by",
        "One a line; base and tuned model draw each. Begin them with the words before the captions.",
    ),
    "generate.seeds": Meaning(
        "Seeds",
        "Each prompt is drawn with each: more make the verdict surer, and the drawing longer.",
    ),
}
"""By key of the recipe; these stand in front, in this order."""

TABLE_NAMES: Mapping[str, str] = {
    "base": "Base model",
    "collect": "Gathering pictures",
    "caption": "Captions",
    "encode": "Sizes, crops and tags",
    "lora": "The adapter",
    "train": "Training",
    "generate": "Drawing pictures",
    "compare": "Comparing and judging",
}
"""What the tables of a recipe are called on the page."""


def label_of(name: str) -> str:
    """What a key is called on the page: in a person's words, or in its own with spaces.

    Args:
        name: Full name of the key, such as "train.seed".
    """
    if name in KEY_MEANINGS:
        return KEY_MEANINGS[name].label
    words = name.partition(".")[2].replace("_", " ")
    return words[:1].upper() + words[1:]


def help_of(name: str, sentence: str) -> str:
    """What is said below a label; the key is named, as recipes and the command line know it.

    Args:
        sentence: What the config model says of it, with range and default.
    """
    known = KEY_MEANINGS.get(name)
    return f"{known.advice if known else sentence} `{name}`"
