"""How a run's LoRA is used elsewhere: the strength, and the lines to paste into other tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer.lora.file import write_weights
from veneer.lora.tensorfile import read_tensors


@dataclass(frozen=True)
class LoraUsage:
    """A LoRA as other tools call it.

    Attributes:
        name: File name in kohya's layout, without its ending.
        scale: Strength that was compared.
        words: What a prompt begins with; empty for nothing.
    """

    name: str
    scale: float
    words: str = ""

    @property
    def lines(self) -> dict[str, str]:
        """The line to paste, by tool."""
        strength = f"{self.scale:g}"
        return {
            "A1111, Forge": f"<lora:{self.name}:{strength}> {self.words}".strip(),
            "ComfyUI": f"LoraLoader {self.name}.safetensors, strength_model and strength_clip {strength}",
            "diffusers": f'pipe.set_adapters("{self.name}", {strength})',
        }

    def card(self, description: str) -> dict[str, Any]:
        """What A1111 and Forge read from ``NAME.json`` beside the file: words and weight go in by a click."""
        return {
            "description": description,
            "activation text": self.words,
            "preferred weight": self.scale,
        }

    @property
    def metadata(self) -> dict[str, str]:
        """What ComfyUI and model managers read from the file itself; keys of the ModelSpec standard."""
        hint = {"modelspec.usage_hint": f"strength {self.scale:g}"}
        return hint | ({"modelspec.trigger_phrase": self.words} if self.words else {})


def write_usage(path: Path, usage: LoraUsage) -> bool:
    """Let a file in kohya's layout say how it is used; its weights stay as they are.

    Returns:
        Whether the file was written anew; False where it says so already.

    Raises:
        AdapterError: If the file is damaged.
    """
    tensors, text = read_tensors(path, "LoRA")
    if usage.metadata.items() <= text.items():
        return False
    write_weights(path, tensors, text | usage.metadata, hashed=True)
    return True
