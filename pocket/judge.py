"""The judge: a small residual network of ours that names subject and style of a picture.

It only measures: no part of the base learns from it, and it learns from real drawings only. It
knows all eight styles, those kept out of the base among them, or it could not judge them.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from .sources import SOURCES

STYLES = (*(source.name for source in SOURCES), "pixel")
WIDTHS = (32, 64, 128, 192)
FEATURES = 192
JUDGE_FILE = Path(__file__).parent / "judge.safetensors"


class Block(nn.Module):
    """Two convolutions with a shortcut; halves the side."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(num_in, num_out, 3, stride=2, padding=1)
        self.second = nn.Conv2d(num_out, num_out, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, num_in), nn.GroupNorm(8, num_out)])
        self.shortcut = nn.Conv2d(num_in, num_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, num_in, H, W) => (B, num_out, H / 2, W / 2)."""
        hidden = self.first(F.silu(self.norms[0](x)))
        hidden = self.second(F.silu(self.norms[1](hidden)))
        return hidden + self.shortcut(F.avg_pool2d(x, 2))


class Judge(nn.Module):
    """Pictures (B, 3, 64, 64) in [-1, 1] => unit features, subject logits, style logits."""

    def __init__(self, num_subjects: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, padding=1)
        self.blocks = nn.Sequential(
            *(Block(a, b) for a, b in zip(WIDTHS, (*WIDTHS[1:], FEATURES), strict=False))
        )
        self.norm = nn.GroupNorm(8, FEATURES)
        self.subject = nn.Linear(FEATURES, num_subjects)
        self.style = nn.Linear(FEATURES * 2, len(STYLES))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, 192) of unit length, logits of subjects and of ``STYLES``."""
        hidden = F.silu(self.norm(self.blocks(self.stem(pictures))))
        mean, peak = hidden.mean((2, 3)), hidden.amax((2, 3))
        return F.normalize(mean.float(), dim=-1), self.subject(mean), self.style(torch.cat([mean, peak], 1))


def load_judge() -> Judge:
    """The shipped judge, float32."""
    weights = {name: value.float() for name, value in load_file(JUDGE_FILE).items()}
    judge = Judge(len(weights["subject.bias"]))
    judge.load_state_dict(weights)
    return judge.eval()
