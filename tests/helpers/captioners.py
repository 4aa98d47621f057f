"""Tiny random captioners of other kinds than BLIP, in Hugging Face layout; for the tests."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SIDE_PX = 32
WORDS = ("a", "red", "blue", "green", "house", "tree", "boat", "cat", "by", "the", "sea")
PROMPT = ("Describe", "this", "picture", "in", "one", "short", "sentence", ".", "What", "does", "image", "?")
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
QWEN = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
_TALK = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}"
)
_VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": SIDE_PX, "patch_size": 8,
}  # fmt: skip
_SIZE = {"height": SIDE_PX, "width": SIDE_PX}


def tiny(kind: str, folder: Path) -> Path:
    """Write a captioner of a kind that transformers loads as image-text-to-text."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        {"llava": _llava, "blip-2": _blip2, "florence2": _florence2, "qwen2_vl": _qwen2_vl}[kind](folder)
    return folder


def _tokenizer(marks: tuple[str, ...] = (), **more: object) -> PreTrainedTokenizerFast:
    vocab = {word: index for index, word in enumerate((*SPECIAL, *marks, *WORDS, *PROMPT))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks_by_name = {f"mark_{number}": mark for number, mark in enumerate(marks)}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>", **marks_by_name}, **more,
    )  # fmt: skip


def _text(size: int) -> dict[str, int]:
    return {
        "vocab_size": size, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2,
    }  # fmt: skip


def _llava(folder: Path) -> None:
    tokenizer = _tokenizer(chat_template=_TALK)
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**_text(len(tokenizer))),
        vision_config=transformers.CLIPVisionConfig(**_VISION),
        image_token_index=SPECIAL.index("<image>"),
    )
    transformers.LlavaForConditionalGeneration(config).eval().save_pretrained(folder)
    images = transformers.CLIPImageProcessorPil(size={"shortest_edge": SIDE_PX}, crop_size=_SIZE)
    transformers.LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=_TALK,
    ).save_pretrained(folder)  # fmt: skip


def _blip2(folder: Path) -> None:
    tokenizer = _tokenizer()
    config = transformers.Blip2Config(
        vision_config=_VISION,
        qformer_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "encoder_hidden_size": 16, "vocab_size": len(tokenizer),
        },
        text_config={
            "model_type": "opt", "vocab_size": len(tokenizer), "hidden_size": 16, "ffn_dim": 32,
            "num_hidden_layers": 2, "num_attention_heads": 2, "word_embed_proj_dim": 16,
            "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        },
        num_query_tokens=4,
        image_token_index=SPECIAL.index("<image>"),
    )  # fmt: skip
    transformers.Blip2ForConditionalGeneration(config).eval().save_pretrained(folder)
    images = transformers.BlipImageProcessorPil(size=_SIZE)
    transformers.Blip2Processor(images, tokenizer, num_query_tokens=4).save_pretrained(folder)


def _florence2(folder: Path) -> None:
    tokenizer = _tokenizer()
    text = {
        "model_type": "bart", "vocab_size": len(tokenizer), "d_model": 16, "encoder_layers": 1,
        "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 128, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": 2,
    }  # fmt: skip
    vision = {
        "depths": [1, 1, 1, 1], "embed_dim": [8, 8, 8, 16], "num_heads": [1, 1, 1, 2],
        "num_groups": [1, 1, 1, 2], "window_size": 4, "projection_dim": 16,
    }  # fmt: skip
    config = transformers.Florence2Config(
        text_config=text, vision_config=vision, image_token_id=SPECIAL.index("<image>")
    )
    model = transformers.Florence2ForConditionalGeneration(config).eval()
    model.generation_config.min_new_tokens = 4  # at random it would end at once
    model.save_pretrained(folder)
    images = transformers.CLIPImageProcessorPil(size=_SIZE, do_center_crop=False, image_seq_length=2)
    transformers.Florence2Processor(images, tokenizer, num_additional_image_tokens=1).save_pretrained(folder)


def _qwen2_vl(folder: Path) -> None:
    talk = _TALK.replace("<image>", "<|vision_start|> <|image_pad|> <|vision_end|>")
    tokenizer = _tokenizer(QWEN, chat_template=talk)
    tokenizer.image_token, tokenizer.video_token = QWEN[1], QWEN[3]
    names = ("vision_start", "image", "vision_end", "video")
    ids = dict(zip(names, map(tokenizer.convert_tokens_to_ids, QWEN), strict=True))
    config = transformers.Qwen2VLConfig(
        text_config={
            **_text(len(tokenizer)),
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
        },
        vision_config={
            "depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "patch_size": 14, "mlp_ratio": 2
        },
        **{f"{name}_token_id": number for name, number in ids.items()},
    )  # fmt: skip
    transformers.Qwen2VLForConditionalGeneration(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=56 * 56).save_pretrained(folder)
