"""Measure the shipped base: ``python -m pocket eval``, or ``make pocket-eval``.

Reads ``src/veneer/pocket/`` and the drawing sets, nothing of the training. Writes the figures to
``bench/results/pocket_HARDWARE_DATE.json`` and sample sheets to ``pocket/sheets/``.
"""

import datetime
import json
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline
from torch import Tensor
from transformers import BlipForConditionalGeneration, BlipProcessor, CLIPModel, CLIPTokenizer

from .augment import to_float
from .card import ASKED, COMPARED, compared_sheet, drawn_sheet, rebuilt_sheet, write_card
from .config import REPOSITORY, SHIPPED
from .draw import draw_plain
from .judge import JUDGE_FILE, STYLES, load_judge
from .pixelate import pixelate_array
from .sources import TRAINED, Source, fetch_sources, source_named
from .subjects import Subject, find_icon, load_subjects, with_article, with_role
from .train_clip import embed_pictures, embed_texts
from .train_vae import psnr

NUM_SUBJECTS = 100
NUM_SEEDS = 2
NUM_TUNED = 40
NUM_STEPS = 25
BATCH = 20
UNJUDGED_GUIDANCE = 4.0
GUIDANCES = (2.0, 4.0, 6.0)
RESULTS = REPOSITORY / "bench" / "results"


@dataclass(frozen=True)
class Shipped:
    """The parts of the shipped base, float32."""

    pipeline: StableDiffusionPipeline
    clip: CLIPModel
    tokenizer: CLIPTokenizer
    captioner: BlipForConditionalGeneration
    processor: BlipProcessor

    @property
    def side_px(self) -> int:
        """Side of its pictures."""
        return self.pipeline.unet.config.sample_size * 2 ** (
            len(self.pipeline.vae.config.block_out_channels) - 1
        )


def load_shipped(folder: Path = SHIPPED) -> Shipped:
    """Load the base as any user of diffusers would."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return Shipped(
        pipeline,
        CLIPModel.from_pretrained(folder / "clip", dtype=torch.float32).eval(),
        CLIPTokenizer.from_pretrained(folder / "clip"),
        BlipForConditionalGeneration.from_pretrained(folder / "captioner", dtype=torch.float32).eval(),
        BlipProcessor.from_pretrained(folder / "captioner"),
    )


@torch.no_grad()
def evaluate() -> dict:
    """Every figure of the model card, written to a file and returned."""
    torch.manual_seed(0)
    fetch_sources()
    shipped = load_shipped()
    kept_out = {
        name: kept_out_pictures(name, shipped.side_px) for name in ("openmoji", "fluent-emoji", "pixel")
    }
    figures = {
        "vae_psnr_db": {name: measure_vae(shipped.pipeline.vae, shown) for name, shown in kept_out.items()},
        "clip": {name: measure_clip(shipped, shown) for name, shown in kept_out.items()},
        "captioner": {name: measure_captioner(shipped, shown) for name, shown in kept_out.items()},
        "seconds_4_pictures": measure_seconds(shipped.pipeline),
    }
    figures |= measure_with_judge(shipped) if JUDGE_FILE.exists() else draw_without_judge(shipped)
    rebuilt_sheet([(shown, rebuild(shipped.pipeline.vae, shown)) for shown in kept_out.values()])
    whole = {"asked": ASKED, "summary": summarise(figures), "figures": figures, "setting": describe_setting()}
    return write_results(whole)


def measure_with_judge(shipped: Shipped) -> dict[str, Any]:
    """The figures of drawn pictures, at the guidance that is best for other subjects."""
    tuned = {str(g): measure_guidance(shipped, g) for g in GUIDANCES}
    best = max(GUIDANCES, key=lambda g: sum(tuned[str(g)].values()))
    pictures = measure_pictures(shipped, evaluation_subjects(), best, draws_sheets=True)
    judged = {"judge": measure_judge(shipped.side_px), "guidance": tuned}
    return judged | {"text_to_image": {"guidance_scale": best} | pictures}


def draw_without_judge(shipped: Shipped) -> dict[str, Any]:
    """A sample sheet only, where no judge was trained yet."""
    subjects = evaluation_subjects()
    sources = [styles_of(s)[number % len(styles_of(s))] for number, s in enumerate(subjects)]
    pixels = draw_with_base(shipped.pipeline, subjects, sources, UNJUDGED_GUIDANCE, seed=0)
    drawn_sheet(pixels, seed=0)
    return {"text_to_image": None, "reason": "no judge yet; run: python -m pocket judge"}


def summarise(figures: dict) -> dict[str, float | None]:
    """One figure for each that the issue asks; kept-out styles are averaged."""

    def mean(values: Iterable[float]) -> float:
        return round(float(np.mean(list(values))), 4)

    drawn = figures["text_to_image"]
    return {
        "vae_psnr_db": mean(figures["vae_psnr_db"].values()),
        "clip_first": mean(style["first"] for style in figures["clip"].values()),
        "clip_first_five": mean(style["first_five"] for style in figures["clip"].values()),
        "picture_ranks_first": drawn["ranks_first"] if drawn else None,
        "style_recognised": drawn["style_recognised"] if drawn else None,
        "head_word_in_caption": mean(figures["captioner"].values()),
    }


def evaluation_subjects() -> tuple[Subject, ...]:
    """The first hundred of the fixed evaluation list."""
    return with_role("evaluation")[:NUM_SUBJECTS]


@cache
def plain_pictures(source: Source, side_px: int, role: str = "evaluation") -> np.ndarray:
    """Subjects of a role in a set, on white, (N, side, side, 3) uint8; blank where the set lacks one."""
    subjects = evaluation_subjects() if role == "evaluation" else with_role(role)[:NUM_TUNED]
    blank = np.full((side_px, side_px, 3), 255, np.uint8)
    return np.stack([draw_plain(s, source, side_px) if find_icon(s, source) else blank for s in subjects])


def kept_out_pictures(name: str, side_px: int) -> np.ndarray:
    """Evaluation subjects in a style that the base never saw, (100, side, side, 3) uint8."""
    if name == "pixel":
        return np.stack([pixelate_array(p, 16) for p in plain_pictures(source_named("noto"), side_px)])
    return plain_pictures(source_named(name), side_px)


def measure_vae(vae: AutoencoderKL, shown: np.ndarray) -> float:
    """Mean PSNR in dB of pictures after encoding and decoding."""
    return round(psnr(rebuild(vae, shown), to_float(torch.from_numpy(shown))).mean().item(), 2)


def rebuild(vae: AutoencoderKL, shown: np.ndarray) -> Tensor:
    """Pictures after encoding and decoding, in [-1, 1]."""
    pictures = to_float(torch.from_numpy(shown))
    return torch.cat(
        [vae.decode(vae.encode(part).latent_dist.mean).sample for part in pictures.split(20)]
    ).clamp(-1, 1)


def measure_clip(shipped: Shipped, shown: np.ndarray) -> dict[str, float]:
    """How often the right name of 100 is first, and among the first five."""
    phrases = [f"a picture of {with_article(subject.phrase)}" for subject in evaluation_subjects()]
    read = embed_texts(shipped.clip, shipped.tokenizer, phrases)
    seen = embed_pictures(shipped.clip, to_float(torch.from_numpy(shown)))
    ranks = rank_of_own(seen @ read.T)
    return {"first": share(ranks == 0), "first_five": share(ranks < 5)}


def rank_of_own(similarity: Tensor) -> Tensor:
    """How many columns beat the diagonal one in each row of (N, N)."""
    return (similarity > similarity.diagonal().unsqueeze(1)).sum(1)


def share(is_true: Tensor) -> float:
    """Share of true entries."""
    return round(is_true.float().mean().item(), 4)


def measure_captioner(shipped: Shipped, shown: np.ndarray) -> float:
    """How often the subject's head word is in the caption."""
    captions = [shipped.processor.decode(ids, skip_special_tokens=True) for ids in _captions(shipped, shown)]
    named = [s.head in caption.split() for s, caption in zip(evaluation_subjects(), captions, strict=False)]
    return share(torch.tensor(named))


def _captions(shipped: Shipped, shown: np.ndarray) -> Tensor:
    return shipped.captioner.generate(to_float(torch.from_numpy(shown)), max_new_tokens=16)


def measure_judge(side_px: int) -> dict[str, float]:
    """How well the judge knows the true drawings of the trained sets (on white, as it ranks them)."""
    judge, own, styled = load_judge(), [], []
    for source in TRAINED:
        _, named, style = judge(for_judge(plain_pictures(source, side_px)))
        own.append(named.argmax(1))
        styled.append(style.argmax(1) == STYLES.index(source.name))
    wanted = torch.tensor([i for i, s in enumerate(load_subjects()) if s in evaluation_subjects()])
    return {"subject": share(torch.stack(own) == wanted), "style": share(torch.cat(styled))}


def for_judge(pixels: np.ndarray) -> Tensor:
    """(N, side, side, 3) uint8 => (N, 3, 64, 64) in [-1, 1]."""
    return F.interpolate(to_float(torch.from_numpy(pixels)), size=(64, 64), mode="area")


def measure_seconds(pipeline: StableDiffusionPipeline) -> float:
    """Seconds for 4 pictures of 25 steps with guidance, after one warm-up."""
    for _ in range(2):
        began = time.monotonic()
        pipeline(["a picture of a cat"] * 4, num_inference_steps=NUM_STEPS, guidance_scale=4.0)
    return round(time.monotonic() - began, 2)


def measure_guidance(shipped: Shipped, guidance_scale: float) -> dict[str, float]:
    """The figures of pictures of the demo subjects, to choose the guidance on others than those measured."""
    return measure_pictures(shipped, with_role("demo")[:NUM_TUNED], guidance_scale, num_seeds=1)


def measure_pictures(
    shipped: Shipped,
    subjects: tuple[Subject, ...],
    guidance_scale: float,
    *,
    num_seeds: int = NUM_SEEDS,
    draws_sheets: bool = False,
) -> dict[str, float]:
    """Draw every subject with every seed, each in one of the trained styles, and judge the pictures.

    Args:
        shipped: The base.
        guidance_scale: Strength of guidance.
        num_seeds: Pictures per subject.
        draws_sheets: Whether to write sample sheets.
    """
    judge = load_judge()
    role = subjects[0].role
    firsts, styled = [], []
    for seed in range(num_seeds):
        sources = [
            styles_of(subject)[(number + seed) % len(styles_of(subject))]
            for number, subject in enumerate(subjects)
        ]
        pixels = draw_with_base(shipped.pipeline, subjects, sources, guidance_scale, seed)
        features, _, style = judge(for_judge(pixels))
        for number, source in enumerate(sources):
            gallery, _, _ = judge(for_judge(plain_pictures(source, shipped.side_px, role)))
            firsts.append((features[number] @ gallery.T).argmax() == number)
            styled.append(style[number].argmax() == STYLES.index(source.name))
        if draws_sheets:
            drawn_sheet(pixels, seed)
            true = [plain_pictures(source, shipped.side_px, role)[n] for n, source in enumerate(sources)]
            compared_sheet(np.stack(true[:COMPARED]), pixels[:COMPARED], seed)
    return {"ranks_first": share(torch.stack(firsts)), "style_recognised": share(torch.stack(styled))}


def styles_of(subject: Subject) -> list[Source]:
    """The trained sets that hold a subject."""
    return [source for source in TRAINED if find_icon(subject, source)]


def draw_with_base(
    pipeline: StableDiffusionPipeline,
    subjects: tuple[Subject, ...],
    sources: list[Source],
    guidance_scale: float,
    seed: int,
) -> np.ndarray:
    """One picture of each subject in the style asked, (N, side, side, 3) uint8."""
    prompts = [
        f"a {s.style} illustration of {with_article(x.phrase)}"
        for x, s in zip(subjects, sources, strict=False)
    ]
    generators = [torch.Generator().manual_seed(1000 * seed + number) for number in range(len(prompts))]
    parts = []
    for start in range(0, len(prompts), BATCH):
        part = slice(start, start + BATCH)
        drawn = pipeline(
            prompts[part],
            num_inference_steps=NUM_STEPS,
            guidance_scale=guidance_scale,
            generator=generators[part],
            output_type="np",
        ).images
        parts.append(np.round(drawn * 255).astype(np.uint8))
    return np.concatenate(parts)


def describe_setting() -> dict[str, str | int]:
    """Versions and hardware."""
    import diffusers
    import transformers

    return {
        "command": "python -m pocket eval",
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "num_inference_steps": NUM_STEPS,
        "hardware": _hardware(),
        "unet_sha256": _weights_name(),
    }


def _weights_name() -> str:
    return json.loads((SHIPPED / "checksums.json").read_text())["unet/diffusion_pytorch_model.safetensors"][
        :12
    ]


def _hardware() -> str:
    return f"cpu{torch.get_num_threads()}"


def write_results(whole: dict) -> dict:
    """Write the figures as a document of the benchmarks and into the card."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    setting = whole["setting"]
    file = RESULTS / f"pocket_{setting['hardware']}_{setting['date']}.json"
    file.write_text(json.dumps(whole, indent=1) + "\n")
    write_card(whole)
    return whole
