"""Models that describe pictures: BLIP, and whatever else transformers loads as image-text-to-text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, BlipForConditionalGeneration

from veneer.captions.processors import load_processor
from veneer.errors import CaptionerError
from veneer.hubnames import revision_of, split_revision
from veneer.models import asdata
from veneer.models.modelfiles import pocket_folder
from veneer.models.quiet import hide_progress_bars

CAPTION_BATCH_SIZE = 8
INSTRUCTION = "Describe this picture in one short sentence."
"""What models that follow instructions are asked."""

FLORENCE_TASK = "<CAPTION>"


@dataclass(frozen=True)
class Decoding:
    """How a text is read off the model.

    Attributes:
        max_new_tokens: Longest caption, in the model's tokens.
        num_beams: Beams searched; 1 for greedy.
        no_repeat_ngram_size: Words in a row that may not come twice; 0 for no limit.
        repetition_penalty: Factor against tokens that were there already; 1 for none.
        length_penalty: Above 0 beam search likes longer captions.
    """

    max_new_tokens: int = 40
    num_beams: int = 1
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0


FIRST = Decoding()
AGAIN = Decoding(num_beams=4, no_repeat_ngram_size=2, repetition_penalty=1.3)
"""For a picture whose first caption has a fault: other words, and none in a loop."""


@dataclass(frozen=True)
class Captioner:
    """A model that describes pictures.

    Attributes:
        name: What the user called it.
        kind: Model type as transformers names it, such as "blip".
        model: The network, frozen.
        processor: What turns pictures and texts into its input, and its output into text.
    """

    name: str
    kind: str
    model: Any
    processor: Any
    device: torch.device

    @torch.inference_mode()
    def describe(self, pictures: Sequence[Image.Image], decoding: Decoding = FIRST) -> list[str]:
        """Describe pictures, all in one batch.

        Args:
            pictures: RGB pictures of any size, N >= 1.
            decoding: How the text is read off.

        Returns:
            N captions in one line each, as the model gave them.
        """
        inputs = self._inputs(pictures).to(self.device)
        inputs = {key: _cast(value, self.model.dtype) for key, value in inputs.items()}
        settings = asdict(decoding)
        if decoding.num_beams == 1:
            del settings["length_penalty"]  # transformers warns of it without beams
        output = self.model.generate(**inputs, **settings, do_sample=False)
        if not self.model.config.is_encoder_decoder and self.kind != "blip" and "input_ids" in inputs:
            output = _without_prompt(output, inputs["input_ids"])
        texts = self.processor.batch_decode(output, skip_special_tokens=True)
        return [" ".join(text.replace(FLORENCE_TASK, "").split()) for text in texts]

    def _inputs(self, pictures: Sequence[Image.Image]) -> Any:
        images = list(pictures)
        if self.kind == "florence2":
            texts = [FLORENCE_TASK] * len(images)
        elif getattr(self.processor, "chat_template", None):
            talk = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": INSTRUCTION}]}]
            text = self.processor.apply_chat_template(talk, add_generation_prompt=True)
            texts, images = [text] * len(images), [[image] for image in images]  # type: ignore[misc]
        else:
            return self.processor(images=images, return_tensors="pt")
        return self.processor(images=images, text=texts, return_tensors="pt", padding=True)


def load_captioner(name: str, device: torch.device | str = "cpu") -> Captioner:
    """Load a captioner.

    Args:
        name: "pocket" for the bundled one, a hub name (with ``@REVISION`` if wanted), or a folder.
        device: Where it computes; on an accelerator in half precision.

    Raises:
        CaptionerError: If it is neither on disk nor to be had from the hub, or describes no pictures.
    """
    hide_progress_bars()
    device = torch.device(device)
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    source, revision = split_revision(name)[0], revision_of(name)
    source = str(pocket_folder() / "captioner") if name == "pocket" else source
    try:
        kind = AutoConfig.from_pretrained(source, revision=revision, **asdata.SETTINGS).model_type
        loader = BlipForConditionalGeneration if kind == "blip" else AutoModelForImageTextToText
        model = loader.from_pretrained(source, dtype=dtype, revision=revision, **asdata.WEIGHTS)
        processor = load_processor(source, kind, revision)
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        raise _missing(name, error) from error
    model.requires_grad_(False)
    if getattr(processor, "tokenizer", None) is not None:
        processor.tokenizer.padding_side = "left"  # generation goes on at the right end
    return Captioner(name, kind, model.eval().to(device), processor, device)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value


def _without_prompt(output: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
    length = input_ids.shape[1]
    repeats = output.shape[1] >= length and torch.equal(output[:, :length], input_ids)
    return output[:, length:] if repeats else output


def _missing(name: str, error: Exception) -> CaptionerError:
    return CaptionerError(
        f"the captioner cannot be loaded: {asdata.why_not(error)}",
        where=name,
        todo="Name a model of the hub with safetensors weights (connect once, so that it is kept on disk), "
        "such as Salesforce/blip-image-captioning-large, a folder, `pocket` for the bundled one, or `none` "
        "to take file and folder names",
    )
