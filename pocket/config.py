"""Sizes and budgets of the bundled base: one dataclass, two presets.

Shown by ``python -m pocket config --size cpu``. The same code trains both presets; only these
numbers differ. Arrays are (B, C, H, W); pixel values are in [-1, 1]; latents are already scaled.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TRAININGS = ("clip", "vision", "vae", "layout", "unet", "decoder", "captioner", "judge")


@dataclass(frozen=True)
class Size:
    """Everything that differs between a machine with two cores and one with a GPU.

    Attributes:
        name: Name of the preset, also of the folder of its checkpoints.
        picture_px: Side of the training pictures.
        num_variants: Pictures drawn per subject and drawing set.
        vae_channels: Channels of the VAE per level; every level but the last halves the side.
        vae_layers: Residual blocks per VAE level.
        unet_channels: Channels of the UNet per level; each level attends to the text.
        unet_layers: Residual blocks per UNet level.
        unet_heads: Attention heads per block.
        text_width: Width of the text tower (``cross_attention_dim`` of the UNet).
        text_layers: Layers of the text tower.
        vision_width: Width of the image tower.
        vision_layers: Layers of the image tower.
        vision_patch_px: Side of a patch of the image tower.
        projection_width: Width of the shared space of both towers.
        num_merges: Merges of the byte-pair vocabulary.
        vae_batch: Pictures per VAE step.
        clip_batch: Pairs per CLIP step.
        unet_batch: Latents per UNet step.
        layout_batch: Captions per step of the layout.
        captioner_batch: Pictures per captioner step.
        judge_batch: Pictures per judge step.
        clip_learning_rate: Peak learning rate of both towers.
        vae_learning_rate: Peak learning rate of the autoencoder.
        decoder_learning_rate: Peak learning rate of the decoder alone.
        unet_learning_rate: Peak learning rate of the UNet.
        ema_decay: Highest decay of the moving average of the UNet.
        is_compiled: Whether UNet and autoencoder train compiled: two minutes to start, then a fifth faster.
        waits: Whether stages run side by side, each waiting for the files of those that it reads.
        seconds: The trainings that ``all`` runs, and the seconds of each; None: until it is stopped.
    """

    name: str
    picture_px: int = 64
    num_variants: int = 8
    vae_channels: tuple[int, ...] = (32, 64, 64)
    vae_layers: int = 1
    unet_channels: tuple[int, ...] = (64, 128, 192)
    unet_layers: int = 1
    unet_heads: int = 4
    text_width: int = 192
    text_layers: int = 4
    vision_width: int = 160
    vision_layers: int = 5
    vision_patch_px: int = 16
    projection_width: int = 160
    num_merges: int = 2000
    vae_batch: int = 8
    clip_batch: int = 96
    unet_batch: int = 64
    layout_batch: int = 64
    captioner_batch: int = 48
    judge_batch: int = 48
    clip_learning_rate: float = 1e-3
    vae_learning_rate: float = 1.5e-3
    decoder_learning_rate: float = 1.5e-3
    unet_learning_rate: float = 1e-3
    ema_decay: float = 0.995
    is_compiled: bool = False
    waits: bool = False
    seconds: Mapping[str, float | None] = field(default_factory=lambda: dict.fromkeys(TRAININGS))

    @property
    def latent_side(self) -> int:
        """Side of the latents."""
        return self.picture_px // 2 ** (len(self.vae_channels) - 1)


CPU = Size(name="cpu")
GPU = Size(
    name="gpu",
    picture_px=128,
    num_variants=20,
    vae_channels=(32, 64, 128, 128),
    vae_layers=2,
    unet_channels=(96, 160, 224),
    unet_layers=1,
    vision_width=192,
    vision_layers=6,
    projection_width=192,
    vae_batch=128,
    clip_batch=1024,
    unet_batch=512,
    layout_batch=1024,
    captioner_batch=512,
    clip_learning_rate=2e-3,
    vae_learning_rate=2e-3,
    decoder_learning_rate=1e-3,
    unet_learning_rate=1.5e-3,
    ema_decay=0.999,
    is_compiled=True,
    seconds={"clip": 95, "vae": 100, "layout": 20, "unet": 220, "decoder": 35, "captioner": 60},
)
SIZES = {size.name: size for size in (CPU, GPU)}

LATENT_CHANNELS = 4
MAX_TOKENS = 77
SEED = 0

REPOSITORY = Path(__file__).resolve().parent.parent
SHIPPED = REPOSITORY / "src" / "veneer" / "pocket"


def work_folder() -> Path:
    """The folder of downloads, pictures, checkpoints and logs (``VENEER_POCKET_WORK``)."""
    return Path(os.environ.get("VENEER_POCKET_WORK", "~/.cache/veneer-pocket")).expanduser()


def shipped_folder() -> Path:
    """The folder that the base is written to: the package, or another (``VENEER_POCKET_SHIPPED``)."""
    return Path(os.environ.get("VENEER_POCKET_SHIPPED", SHIPPED)).expanduser()
