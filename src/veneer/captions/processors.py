"""What turns pictures and questions into a captioner's input, also where transformers asks for torchvision.

Models that watch videos too (Qwen-VL and its kin) bring a video processor, and that wants torchvision, which
Veneer does without. Pictures need no video processor, so the rest is put together without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import (
    PROCESSOR_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    BlipProcessor,
)

from veneer.models import asdata


def load_processor(source: str, kind: str, revision: str | None = None) -> Any:
    """Load a captioner's processor.

    Args:
        source: Hub name or folder.
        kind: Model type as transformers names it, such as "blip".

    Raises:
        ImportError: If it needs a library that is not installed, for more than videos.
    """
    settings = {"revision": revision, **asdata.SETTINGS}
    if kind == "blip":
        return BlipProcessor.from_pretrained(source, revision=revision)
    try:
        return AutoProcessor.from_pretrained(source, **settings)
    except ImportError:
        whole = PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(source, **settings))]
        if "video_processor" not in whole.get_attributes():
            raise
    return _without_video(source, whole, settings)


def _without_video(source: str, whole: Any, settings: Mapping[str, Any]) -> Any:
    class Still(whole):  # type: ignore[misc]
        def check_argument_for_proper_class(self, *_: Any) -> None:
            """The check looks the missing video processor up, and fails."""

    tokenizer = AutoTokenizer.from_pretrained(source, **settings)
    own, _ = whole.get_processor_dict(source, revision=settings["revision"])
    return Still(
        image_processor=AutoImageProcessor.from_pretrained(source, backend="pil", **settings),
        tokenizer=tokenizer,
        video_processor=None,
        chat_template=own.get("chat_template") or tokenizer.chat_template,
    )
