"""Random models of a few tens of thousands of weights, and pictures, for the tests.

Everything is a function of its arguments: the same bytes on every call. Layouts are those of the hub, so the
models load exactly as the real ones do.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)
from PIL import Image, ImageDraw
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipProcessor,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)

NATIVE_PX = 32
LATENT_SIDE = 16
TEXT_WIDTH = 16
MAX_TOKENS = 77
MERGES = (
    "t h", "i n", "a n", "o n", "e r", "r e", "o f</w>", "a t", "p i", "c i", "t y</w>", "ci ty</w>",
    "th e</w>", "in g</w>", "an d</w>", "d o", "g </w>", "do g</w>", "h o", "u s", "e </w>", "ho us", "c a",
)  # fmt: skip
WORDS = ("a", "of", "the", "red", "blue", "green", "picture", "circle", "square", "with", "and", "city")


def tiny_base(folder: Path, *, prediction_type: str = "epsilon", is_second: bool = False) -> Path:
    """A random Stable Diffusion 1.x (or 2.x) in Hugging Face layout: 32 px pictures, VAE factor 2."""
    vocab = write_clip_tokenizer(folder / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tiny_unet(is_second=is_second).save_pretrained(folder / "unet")
        tiny_vae().save_pretrained(folder / "vae")
        CLIPTextModel(_text_config(len(vocab))).save_pretrained(folder / "text_encoder")
    DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1,
        prediction_type=prediction_type,
    ).save_pretrained(folder / "scheduler")  # fmt: skip
    _write_json(
        folder / "model_index.json",
        {
            "_class_name": "StableDiffusionPipeline",
            "_diffusers_version": "0.42.1",
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", "DDPMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )
    return folder


def tiny_sdxl(folder: Path, **scheduler: object) -> Path:
    """A random Stable Diffusion XL in Hugging Face layout: 32 px pictures, two CLIPs of width 16."""
    vocab = write_clip_tokenizer(folder / "tokenizer")
    write_clip_tokenizer(folder / "tokenizer_2", pad_token="!")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        tiny_sdxl_unet().save_pretrained(folder / "unet")
        tiny_vae(scaling_factor=0.13025, force_upcast=True).save_pretrained(folder / "vae")
        CLIPTextModel(_text_config(len(vocab))).save_pretrained(folder / "text_encoder")
        second = _text_config(len(vocab), eos_token_id=2)
        CLIPTextModelWithProjection(second).save_pretrained(folder / "text_encoder_2")
    EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, **scheduler
    ).save_pretrained(folder / "scheduler")
    parts = {
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    about = {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True}
    _write_json(folder / "model_index.json", about | parts)
    return folder


def tiny_klein(folder: Path) -> Path:
    """A random FLUX.2-klein in Hugging Face layout: 32 px pictures, width 32, two blocks of each kind."""
    vocab = write_qwen_tokenizer(folder / "tokenizer")
    layers = 28  # the pipeline reads the state after the 27th
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        Flux2Transformer2DModel(
            in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=3 * TEXT_WIDTH, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ).save_pretrained(folder / "transformer")  # fmt: skip
        vae = AutoencoderKLFlux2(
            block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4,
            up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, norm_num_groups=4,
            sample_size=NATIVE_PX,
        )  # fmt: skip
        vae.bn.running_mean.normal_()
        vae.bn.running_var.uniform_(0.5, 2.0)
        vae.save_pretrained(folder / "vae")
        config = Qwen3Config(
            vocab_size=len(vocab), hidden_size=TEXT_WIDTH, intermediate_size=32, num_hidden_layers=layers,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=1024,
            bos_token_id=None, eos_token_id=vocab["<|end|>"], pad_token_id=vocab["<|end|>"],
        )  # fmt: skip
        Qwen3ForCausalLM(config).save_pretrained(folder / "text_encoder")
    FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True).save_pretrained(
        folder / "scheduler"
    )
    parts = {
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3ForCausalLM"],
        "tokenizer": ["transformers", "Qwen2TokenizerFast"],
        "transformer": ["diffusers", "Flux2Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLFlux2"],
    }
    _write_json(
        folder / "model_index.json", {"_class_name": "Flux2KleinPipeline", "is_distilled": False} | parts
    )
    return folder


def tiny_zimage(folder: Path) -> Path:
    """A random Z-Image in Hugging Face layout: 32 px pictures, width 32, two layers."""
    vocab = write_qwen_tokenizer(folder / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        transformer = ZImageTransformer2DModel(
            in_channels=4, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
            cap_feat_dim=TEXT_WIDTH, axes_dims=[4, 6, 6],
        )  # fmt: skip
        torch.nn.init.normal_(transformer.x_pad_token)
        torch.nn.init.normal_(transformer.cap_pad_token)
        transformer.save_pretrained(folder / "transformer")
        tiny_vae(scaling_factor=0.3611, force_upcast=False, shift_factor=0.1159).save_pretrained(
            folder / "vae"
        )
        config = Qwen3Config(
            vocab_size=len(vocab), hidden_size=TEXT_WIDTH, intermediate_size=32, num_hidden_layers=3,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=1024,
            bos_token_id=None, eos_token_id=vocab["<|end|>"], pad_token_id=vocab["<|end|>"],
        )  # fmt: skip
        Qwen3Model(config).save_pretrained(folder / "text_encoder")
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(folder / "scheduler")
    parts = {
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3Model"],
        "tokenizer": ["transformers", "Qwen2TokenizerFast"],
        "transformer": ["diffusers", "ZImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    _write_json(folder / "model_index.json", {"_class_name": "ZImagePipeline"} | parts)
    return folder


def write_qwen_tokenizer(folder: Path) -> dict[str, int]:
    """Write a byte-level tokenizer of single letters, with a template of questions."""
    letters = [chr(code) for code in _byte_alphabet()]
    special = ["<|end|>", "<|start|>"]
    vocab = {token: index for index, token in enumerate([*letters, *special])}
    _write_json(folder / "vocab.json", vocab)
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    template = (
        "{% for one in messages %}<|start|>{{ one['role'] }} {{ one['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|start|>reply{% endif %}"
    )
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "chat_template": template,
            "eos_token": "<|end|>",
            "pad_token": "<|end|>",
            "additional_special_tokens": ["<|start|>"],
            "model_max_length": 4096,
        },
    )
    return vocab


def tiny_sdxl_unet() -> UNet2DConditionModel:
    """A random UNet with the blocks of Stable Diffusion XL; weights from torch's global generator."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        block_out_channels=(8, 16, 16),
        layers_per_block=2,
        norm_num_groups=4,
        attention_head_dim=(1, 2, 2),
        cross_attention_dim=2 * TEXT_WIDTH,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + TEXT_WIDTH,
    )


def tiny_unet(*, is_second: bool = False) -> UNet2DConditionModel:
    """A random UNet with the blocks of Stable Diffusion 1.x or 2.x; weights from torch's global generator."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=TEXT_WIDTH,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        use_linear_projection=is_second,
        upcast_attention=is_second,
    )


def tiny_vae(
    *, scaling_factor: float = 0.18215, force_upcast: bool = True, **settings: float
) -> AutoencoderKL:
    """A random VAE that halves the side; weights from torch's global generator."""
    return AutoencoderKL(
        sample_size=NATIVE_PX,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        scaling_factor=scaling_factor,
        force_upcast=force_upcast,
        **settings,
    )


def tiny_pictures(folder: Path, n: int, *, side_px: int = 64) -> Path:
    """``n`` PNG pictures of coloured shapes that look nothing like each other, `picture-000.png` onwards."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(n):
        _picture(index, side_px).save(folder / f"picture-{index:03d}.png")
    return folder


def tiny_clip(folder: Path) -> Path:
    """A random CLIP (text and image towers, processor) for 32 px pictures, in Hugging Face layout."""
    vocab = write_clip_tokenizer(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = CLIPConfig(
            text_config=_text_config(len(vocab)).to_dict(),
            vision_config={
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": NATIVE_PX,
                "patch_size": 8,
                "projection_dim": 16,
            },
            projection_dim=16,
        )
        CLIPModel(config).eval().save_pretrained(folder)
    size = {"height": NATIVE_PX, "width": NATIVE_PX}
    images = CLIPImageProcessorPil(size={"shortest_edge": NATIVE_PX}, crop_size=size)
    CLIPProcessor(images, CLIPTokenizer.from_pretrained(folder)).save_pretrained(folder)
    return folder


def tiny_blip(folder: Path) -> Path:
    """A random BLIP captioner for 32 px pictures, in Hugging Face layout."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?-"
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *WORDS]
    vocab += [token for letter in letters for token in (letter, f"##{letter}") if token not in vocab]
    tokenizer = BertTokenizer(vocab={token: index for index, token in enumerate(vocab)}, bos_token="[DEC]")
    text = {
        "vocab_size": len(vocab), "hidden_size": 16, "encoder_hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64,
        "bos_token_id": vocab.index("[DEC]"), "eos_token_id": vocab.index("[SEP]"),
        "sep_token_id": vocab.index("[SEP]"), "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": NATIVE_PX, "patch_size": 8,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        config = BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
        BlipForConditionalGeneration(config).eval().save_pretrained(folder)
    images = BlipImageProcessorPil(size={"height": NATIVE_PX, "width": NATIVE_PX})
    BlipProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def write_clip_tokenizer(folder: Path, *, pad_token: str = "<|endoftext|>") -> dict[str, int]:
    """Write a byte-level CLIP tokenizer with a small vocabulary, as the three files that SD 1.x has."""
    letters = [chr(code) for code in _byte_alphabet()]
    tokens = letters + [f"{letter}</w>" for letter in letters]
    merges = [merge for merge in MERGES if not merge.endswith(" </w>")]
    tokens += [merge.replace(" ", "") for merge in merges]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    _write_json(folder / "vocab.json", vocab)
    usable = [merge for merge in merges if all(part in vocab for part in merge.split(" "))]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *usable]) + "\n", "utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    _write_json(
        folder / "tokenizer_config.json",
        {
            **special,
            "pad_token": pad_token,
            "model_max_length": MAX_TOKENS,
            "tokenizer_class": "CLIPTokenizer",
        },
    )
    _write_json(folder / "special_tokens_map.json", {**special, "pad_token": pad_token})
    return vocab


def _text_config(vocab_size: int, *, eos_token_id: int | None = None) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=TEXT_WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=16,
        bos_token_id=vocab_size - 2,
        eos_token_id=vocab_size - 1 if eos_token_id is None else eos_token_id,
        pad_token_id=vocab_size - 1,
    )


def _picture(index: int, side_px: int) -> Image.Image:
    random = np.random.default_rng(index)
    picture = Image.new("RGB", (side_px, side_px), _colour(random))
    draw = ImageDraw.Draw(picture)
    for _ in range(6):
        left, top = random.integers(0, side_px * 3 // 4, 2)
        width, height = random.integers(side_px // 6, side_px // 2, 2)
        box = (int(left), int(top), int(left + width), int(top + height))
        draw_shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        draw_shape(box, fill=_colour(random))
    return picture


def _colour(random: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(part) for part in random.integers(0, 256, 3))
    return red, green, blue


def _byte_alphabet() -> list[int]:
    """Code points that byte-level BPE writes for the bytes 0 to 255: unprintable ones move past 255."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = iter(range(256, 512))
    return [byte if byte in printable else next(moved) for byte in range(256)]


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
