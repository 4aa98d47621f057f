"""What the rules of the verdict read beside the measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Losses:
    """Held-out loss over the run.

    Attributes:
        chosen: Of the chosen checkpoint.
        best: Lowest of all checkpoints.
        last: Of the last checkpoint.
    """

    base: float
    chosen: float
    chosen_step: int
    best: float
    best_step: int
    last: float
    last_step: int


@dataclass(frozen=True)
class Facts:
    """What the rules read beside the measures.

    Attributes:
        num_prompts: Prompts that call the style.
        num_held_out: Held-out pictures.
        num_pictures: Pictures of each model.
        num_identical: Pairs in which base and tuned picture are the same, pixel for pixel.
        num_broken: Tuned pictures without content, where the base's has some.
        num_copies: Tuned pictures that copy a training picture.
        num_leaked: Held-out pictures that training saw too, as the same picture or nearly.
        losses: Held-out loss over the run; None where it was not measured.
        caption_p_value: How probable the captions' fit to their pictures is by chance; None where unknown, as
            with one caption for all pictures.
        style_cost: By how much true pictures surely lie below the base's of the same captions, in the prompt
            measure; None where fewer than five held-out captions tell.
        prompt_span: By how much the base's pictures of these captions lie nearer to their own than to the
            others; None where `style_cost` is.
        smoothness: Mean correlation of neighbouring pixels in the training pictures; None where unknown.
        style_word_share: Share of captions with a word that every prompt of the recipe has; or None.
        side_px: Side of the pictures; None where unknown.
        native_px: Side that the base was trained on; None where unknown.
        has_two_passes: Whether pictures were composed at the base's own size first.
    """

    num_prompts: int
    num_held_out: int
    num_pictures: int
    num_identical: int = 0
    num_broken: int = 0
    num_copies: int = 0
    num_leaked: int = 0
    losses: Losses | None = None
    caption_p_value: float | None = None
    style_cost: float | None = None
    prompt_span: float | None = None
    smoothness: float | None = None
    style_word_share: float | None = None
    side_px: int | None = None
    native_px: int | None = None
    has_two_passes: bool = False
