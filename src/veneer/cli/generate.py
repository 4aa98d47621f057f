"""``veneer generate``: pictures from a base model, with or without a LoRA file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from veneer.choices import Scheduler
from veneer.cli.options import Json, Quiet
from veneer.cli.output import print_result

Prompts = Annotated[list[str], typer.Option("--prompt", metavar="TEXT", help="A prompt; may be given often.")]
PicturesFolder = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder of the pictures, named P-SEED.png.")
]
BaseName = Annotated[
    str,
    typer.Option("--base", metavar="ID", help="Hub name, folder, .safetensors checkpoint, or pocket."),
]
Seed = Annotated[list[int] | None, typer.Option("--seed", metavar="N", help="A seed; may be given often.")]
OneLora = Annotated[
    Path | None, typer.Option("--lora", metavar="FILE", help="A LoRA file, of either layout.")
]
OneScale = Annotated[float, typer.Option("--scale", min=0.0, help="Strength of the LoRA; 0 is the base.")]
WordFile = Annotated[
    Path | None,
    typer.Option("--embedding", metavar="FILE", help="A learnt word's file; prompts call it by its name."),
]
Vae = Annotated[str | None, typer.Option("--vae", help="VAE in place of the base's own.")]
NegativePrompt = Annotated[str | None, typer.Option(help="What guidance pushes away from.")]
NumInferenceSteps = Annotated[int | None, typer.Option("--steps", min=1, help="Denoising steps.")]
GuidanceScale = Annotated[float | None, typer.Option("--guidance", min=1.0, help="Guidance; 1 for none.")]
NoiseScheduler = Annotated[Scheduler | None, typer.Option("--scheduler", help="How the noise is taken away.")]
Resolution = Annotated[int | None, typer.Option(help="Side in pixels; the base's own size by default.")]
TwoPass = Annotated[
    bool, typer.Option("--two-pass", help="Draw at the base's own size first, then enlarge and refine.")
]


def generate(
    prompt: Prompts,
    out: PicturesFolder,
    base: BaseName = "stable-diffusion-v1-5/stable-diffusion-v1-5",
    seed: Seed = None,
    lora: OneLora = None,
    scale: OneScale = 1.0,
    embedding: WordFile = None,
    vae: Vae = None,
    negative_prompt: NegativePrompt = None,
    num_inference_steps: NumInferenceSteps = None,
    guidance_scale: GuidanceScale = None,
    scheduler: NoiseScheduler = None,
    resolution: Resolution = None,
    two_pass: TwoPass = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Draw every prompt with every seed; the same command again draws only what is missing."""
    from veneer.cli.progress import ProgressPrinter
    from veneer.recipe import resolve
    from veneer.stages.generate import generate_files

    asked: dict[str, Any] = {
        "negative_prompt": negative_prompt,
        "num_inference_steps": num_inference_steps,
        "guidance_scale": guidance_scale,
        "scheduler": scheduler,
        "resolution": resolution,
    }
    given = {key: value for key, value in asked.items() if value is not None}
    table = resolve({"generate": given | {"two_pass": two_pass}}, where="the command line").generate
    with ProgressPrinter(quiet, ("generate",)) as on_event:
        result = generate_files(
            base,
            prompt,
            seed or [0],
            out,
            lora=lora,
            scale=scale,
            embedding=embedding,
            generate=table,
            vae=vae,
            on_event=on_event,
        )
    print_result(result, as_json=as_json)
    return 0
