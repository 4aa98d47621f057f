"""LoRA files turned into others: another layout, strength or precision, sums, smaller ranks, pipelines.

Run as ``veneer export --lora FILE --layout kohya --out PATH``, ``veneer merge`` and ``veneer resize``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from veneer.choices import FileLayout, Precision
from veneer.errors import AdapterError
from veneer.events import Notice, OnEvent, ignore
from veneer.lora.check import TOLERANCE, outputs_with, verify, verify_reading
from veneer.lora.checkpoint import is_checkpoint, read_adapter
from veneer.lora.file import write_diffusers, write_kohya
from veneer.lora.keys import OWN_BASE
from veneer.lora.loading import refuse_family
from veneer.lora.merge import merge_adapters, merge_into, resize_adapter
from veneer.lora.reader import file_of
from veneer.lora.weights import LoraFile
from veneer.models.base import assemble, load_base
from veneer.records.files import staged_folder


@dataclass(frozen=True)
class ConvertResult:
    """What was written.

    Attributes:
        path: The file, or the folder of a merged pipeline.
        difference: Largest difference of an output after loading it back, as a share of the adapter's own
            effect; None where there was no base to load it on.
        kept: Share of the update's squared norm that a resize left, in [0, 1].
    """

    path: Path
    difference: float | None = None
    kept: float = 1.0

    @property
    def summary(self) -> str:
        """One line of what was written and how well it loads."""
        kept = "" if self.kept == 1 else f", {self.kept:.1%} of the update kept"
        if self.difference is None:
            return f"{self.path}{kept}"
        return f"{self.path}{kept}; loaded back, at most {self.difference:.1g} of its effect is off"


def export_file(
    lora: Path,
    out: Path,
    *,
    layout: FileLayout | Literal["merged"],
    scale: float = 1.0,
    dtype: Precision | None = None,
    base: str | None = None,
    on_event: OnEvent = ignore,
) -> ConvertResult:
    """Write any LoRA in another layout, strength or precision, or merge it into its base.

    Args:
        lora: A LoRA file of any layout, or the `adapter.safetensors` of a run's checkpoint.
        out: The file to write; for "merged" the folder.
        layout: "diffusers", "kohya", or "merged" for a whole pipeline.
        scale: Factor on the adapter's strength.
        dtype: Precision to write; none for the file's own, float32 where merged.
        base: A base to load the result back on; none for no such check. A merged pipeline needs one,
            and takes the one that the file names where this is none.

    Returns:
        What was written.

    Raises:
        AdapterError: If the file is no LoRA, is for another base, or does not load back.
        BaseModelError: If the base cannot be loaded.
    """
    lora = file_of(lora)
    adapter = read_adapter(lora, on_event)
    if layout == "merged":
        precision, name = _dtype(dtype or "float32"), _base_of(adapter, lora, base)
        return _merged(adapter, lora, out, scale=scale, dtype=precision, base=name)
    read = {lora: adapter}
    adapter = adapter.scaled(scale)
    if dtype is not None:
        adapter = adapter.cast(_dtype(dtype))
    return _written(adapter, out, layout, base=base, on_event=on_event, read=read)


def merge_files(
    files: Sequence[Path],
    weights: Sequence[float],
    out: Path,
    *,
    layout: FileLayout = "diffusers",
    base: str | None = None,
    on_event: OnEvent = ignore,
) -> ConvertResult:
    """Add several LoRA files up into one, exactly.

    Args:
        files: LoRA files of any layout, made for the same base.
        weights: Factor on each one's update.
        out: The file to write.
        base: A base to load the result back on; none for no such check.

    Returns:
        What was written.

    Raises:
        AdapterError: If they cannot be added.
    """
    read = [(file_of(path), read_adapter(path, on_event)) for path in files]
    merged = merge_adapters([adapter for _, adapter in read], weights)
    return _written(merged, out, layout, base=base, on_event=on_event, read=dict(read))


def resize_file(
    file: Path,
    rank: int,
    out: Path,
    *,
    layout: FileLayout = "diffusers",
    base: str | None = None,
    on_event: OnEvent = ignore,
) -> ConvertResult:
    """Write a LoRA file with a smaller rank.

    Args:
        file: A LoRA file of any layout.
        rank: New rank, >= 1.
        base: A base to load the result back on; none for no such check.

    Returns:
        What was written, and the share of the update that is left.

    Raises:
        AdapterError: If the file is no LoRA, or a DoRA.
    """
    file = file_of(file)
    adapter = read_adapter(file, on_event)
    resized = resize_adapter(adapter, rank)
    written = _written(resized.lora, out, layout, base=base, on_event=on_event, read={file: adapter})
    return replace(written, kept=resized.kept)


def _written(
    lora: LoraFile,
    out: Path,
    layout: FileLayout,
    *,
    base: str | None,
    on_event: OnEvent,
    read: Mapping[Path, LoraFile],
) -> ConvertResult:
    """Write an adapter; with a base, what was read and what is written are held against their formats."""
    if out.suffix != ".safetensors":
        raise AdapterError(
            "a LoRA is written to a .safetensors file", where=str(out), todo="Give --out such a name"
        )
    write = write_diffusers if layout == "diffusers" else write_kohya
    if base is None:
        write(out, lora)
        on_event(Notice("export", "not-loaded-back", "no --base was given, so the file was not loaded back"))
        return ConvertResult(out)
    refuse_family(lora, load_base(base, parts=()).family, ", ".join(str(path) for path in read))
    loaded = load_base(base, parts=("tokenizer", "text_encoder", "unet", "scheduler"), on_event=on_event)
    for path, adapter in read.items():
        if not is_checkpoint(path):
            verify_reading(path, adapter, loaded)
    with tempfile.TemporaryDirectory() as scratch:
        # Checked aside: a file that does not load never takes the place of an older one.
        aside = Path(scratch) / out.name
        write(aside, lora)
        measure = None
        if lora.is_by_inputs:
            measure = outputs_with(loaded, lora, file=next(iter(read)))
        difference = verify(aside, lora, loaded, measure=measure)
    write(out, lora)
    return ConvertResult(out, difference)


def _base_of(adapter: LoraFile, lora: Path, base: str | None) -> str:
    name = base or adapter.metadata.get(OWN_BASE)
    if not name:
        raise AdapterError("the LoRA does not name its base", where=str(lora), todo="Give it with --base")
    return name


def _merged(
    lora: LoraFile, file: Path, out: Path, *, scale: float, dtype: torch.dtype, base: str
) -> ConvertResult:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        todo = "Give --out a new name"
        raise AdapterError("the folder for the merged pipeline is in use", where=str(out), todo=todo)
    refuse_family(lora, load_base(base, parts=()).family, str(file))
    loaded = load_base(base)
    measure = outputs_with(loaded, lora, scale, None if is_checkpoint(file) else file)
    for part, network in loaded.networks.items():
        merge_into(network, lora, part, scale=scale)
    difference = measure()
    if not difference <= TOLERANCE:
        what = f"the merged base is not what the LoRA's format says: outputs differ by {difference:.2g}"
        raise AdapterError(what, where=str(file), todo="Please report it, with the file's address")
    for network in (*loaded.networks.values(), loaded.vae):
        torch.nn.Module.to(network, dtype)  # diffusers' own `to` warns about a case that does not arise here
    pipeline = assemble(loaded, "own")
    with staged_folder(out) as folder:
        pipeline.save_pretrained(folder, safe_serialization=True)
    return ConvertResult(out, difference)


def _dtype(name: Precision) -> torch.dtype:
    match name:
        case "float32":
            return torch.float32
        case "float16":
            return torch.float16
        case "bfloat16":
            return torch.bfloat16
