"""Which pictures a step learns from, and by which of their captions."""

import torch
from torch import Tensor

from .draw import Picture

SHARE_EMPTY = 0.1
SHARE_UNSTYLED = 0.2
SHARE_STRANGE = 0.2
SHARE_PLAIN = 0.6


def picture_chances(pictures: list[Picture]) -> Tensor:
    """How often each picture is trained on, summing to 1: plain ones most, as prompts ask for them most."""
    is_plain = torch.tensor([p.background == "white" and not p.size for p in pictures])
    plain, varied = is_plain.float(), (~is_plain).float()
    return SHARE_PLAIN * plain / plain.sum() + (1 - SHARE_PLAIN) * varied / varied.sum()


def choose_evenly(num_rows: int, num: int, generator: torch.Generator) -> Tensor:
    """So many rows, each as likely as the others."""
    return torch.randint(0, num_rows, (num,), generator=generator, device=generator.device)


def choose_pictures(chances: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Rows of so many pictures, by ``picture_chances``."""
    return torch.multinomial(chances, num, replacement=True, generator=generator)


def choose_captions(rows: Tensor, generator: torch.Generator) -> Tensor:
    """One caption's row for each picture: styled, unstyled, strangely styled or empty (row 0).

    Args:
        rows: Rows of two styled captions, one unstyled and one with strange words, (B, 4).
    """
    chance = torch.rand(len(rows), generator=generator, device=rows.device)
    styled = (chance * 1e4).long() % 2
    rest = torch.where(chance < SHARE_UNSTYLED + SHARE_STRANGE, 3, styled)
    column = torch.where(chance < SHARE_UNSTYLED, 2, rest)
    chosen = rows.gather(1, column.unsqueeze(1)).squeeze(1)
    is_empty = torch.rand(len(rows), generator=generator, device=rows.device) < SHARE_EMPTY
    return torch.where(is_empty, 0, chosen)
