"""What the families of a transformer, a straight path and Qwen3's states have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler

from veneer.models.families.family import Family, Parts, PartSettings
from veneer.models.families.flow import Flow, flow_path
from veneer.models.quiet import quiet_libraries

FLOW_SAMPLERS = {"euler": "FlowMatchEulerDiscreteScheduler"}


@dataclass(frozen=True)
class TransformerFamily(Family):
    """A family whose prompts a language model reads, and whose pictures lie on a straight way to noise."""

    def is_checkpoint(self, names: Sequence[str]) -> bool:
        """Never: a single file holds the transformer alone."""
        return False

    def path(self, settings: PartSettings) -> Flow:
        """The straight line."""
        return flow_path(settings["scheduler"])

    def training_scheduler(self, settings: PartSettings) -> Any:
        """The sampler that it comes with."""
        return FlowMatchEulerDiscreteScheduler.from_config(settings["scheduler"])

    def native_px(self, settings: PartSettings) -> int:
        """1,024 px."""
        return int(settings["vae"].get("sample_size", 1024))

    def pipeline(self, parts: Parts, settings: PartSettings, scheduler: Any) -> Any:
        """The first of its pipelines."""
        with quiet_libraries():
            import diffusers

            kind = getattr(diffusers, self.pipelines[0])
        own = ("vae", "text_encoder", "tokenizer", "transformer")
        return kind(**{name: parts.get(name) for name in own}, scheduler=scheduler)


def asked_as_chat(tokenizer: Any, prompt: str, *, thinking: bool) -> str:
    """A prompt as the language model is asked it.

    Args:
        thinking: Whether the answer begins with room to think.
    """
    messages = [{"role": "user", "content": prompt}]
    options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": thinking}
    return str(tokenizer.apply_chat_template(messages, **options))
