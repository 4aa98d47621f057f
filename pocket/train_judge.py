"""Train the judge on real drawings of every style: ``python -m pocket judge``."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from .augment import blur, fade_to_gray, move, shift_colours, to_float
from .choosing import choose_evenly
from .config import Size, work_folder
from .device import low_precision, prepare_torch, step_generator, training_device
from .draw import draw_variant
from .judge import JUDGE_FILE, STYLES, Judge
from .muon import muon
from .pixelate import pixelate_array
from .sources import SOURCES
from .subjects import find_icon, load_subjects
from .trainee import Trainee
from .training import Budget, planned_rate, train
from .waiting import wait_for

SIDE_PX = 64
NUM_VARIANTS = 4
NOT_MATRICES = ("stem", "subject", "style")


def train_judge(size: Size, budget: Budget) -> None:
    """Train, and write the average as the shipped judge."""
    wait_for(size, "fetch")
    prepare_torch()
    device = training_device()
    pixels, subjects, styles = (part.to(device) for part in judge_pictures(work_folder() / "judge"))
    model = Judge(len(load_subjects())).to(device, memory_format=torch.channels_last)
    trainee = Trainee(work_folder() / "judge", model, muon(model, NOT_MATRICES), 0.998)

    def make_batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = step_generator("judge", step)
        chosen = choose_evenly(len(pixels), size.judge_batch, generator)
        pictures = move(to_float(pixels[chosen]), 0.12, 0.12, 8, generator)
        pictures = fade_to_gray(shift_colours(pictures, 0.15, generator), 0.05, generator)
        pictures = blur(pictures, 0.2, generator).contiguous(memory_format=torch.channels_last)
        return pictures, subjects[chosen], styles[chosen]

    def loss(pictures: Tensor, subject: Tensor, style: Tensor) -> Tensor:
        with low_precision(device):
            _, named, styled = model(pictures)
        naming = F.cross_entropy(named.float(), subject, label_smoothing=0.05)
        return naming + F.cross_entropy(styled.float(), style)

    try:
        train(trainee, make_batch, loss, planned_rate(2e-3, 50, budget), budget)
    finally:
        weights = {name: value.half().contiguous().cpu() for name, value in trainee.ema.state_dict().items()}
        save_file(weights, JUDGE_FILE)


def judge_pictures(folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (N, 64, 64, 3) uint8, subject numbers and style numbers, drawn once."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "pictures.npz"
    if not file.exists():
        _draw_all(file)
    loaded = np.load(file)
    return tuple(torch.from_numpy(loaded[name]) for name in ("pixels", "subjects", "styles"))


def _draw_all(file: Path) -> None:
    pixels, subjects, styles = [], [], []
    for number, subject in enumerate(load_subjects()):
        for style, source in enumerate(SOURCES):
            if find_icon(subject, source) is None:
                continue
            for variant in range(NUM_VARIANTS):
                picture = draw_variant(subject, source, variant, SIDE_PX)
                is_copied = source.name in ("noto", "fluent-emoji-flat")
                copies = [(picture, style)] + [
                    (pixelate_array(picture, 16 + 16 * (variant % 2)), len(STYLES) - 1)
                ] * is_copied
                for shown, shown_style in copies:
                    pixels.append(shown)
                    subjects.append(number)
                    styles.append(shown_style)
    with file.open("wb") as handle:
        np.savez(handle, pixels=np.stack(pixels), subjects=np.array(subjects), styles=np.array(styles))
