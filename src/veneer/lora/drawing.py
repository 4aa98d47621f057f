"""Pictures of a base, with or without a LoRA and a learnt word, in one call."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from veneer.arguments import PathLike, given_numbers, given_path, given_texts
from veneer.config import GenerateTable
from veneer.errors import BaseModelError
from veneer.events import OnEvent
from veneer.lora.embedding_file import load_textual_inversion, read_embedding
from veneer.lora.loading import load_lora, refuse_stranger
from veneer.models.sampling import load_sampler, sample
from veneer.notebook import in_notebook


def draw(
    base: PathLike,
    prompts: str | Sequence[str],
    seeds: int | Sequence[int] = 0,
    *,
    lora: PathLike | None = None,
    scale: float = 1.0,
    embedding: PathLike | None = None,
    generate: GenerateTable | None = None,
    vae: PathLike | None = None,
    on_event: OnEvent = in_notebook,
) -> list[Image.Image]:
    """Draw every prompt with every seed.

    Args:
        base: Base model: hub name, local folder, `.safetensors` checkpoint, or `pocket`.
        lora: Adapter file in diffusers' or kohya's layout; None for the base alone.
        scale: Strength of the adapter, >= 0; 0 is the base.
        embedding: File of a learnt word (textual inversion); prompts call it by its name.
        generate: Sampler, steps, guidance and size; the defaults draw at the base's own size.
        vae: VAE in place of the base's own.

    Returns:
        RGB pictures, prompt by prompt, seed by seed within a prompt.

    Raises:
        AdapterError: If the adapter is damaged or made for another base.
        BaseModelError: If the base cannot be loaded, or draws no finite numbers.
        ArgumentError: If an argument is of another type.
    """
    asked, numbers = given_texts(prompts, "prompts"), given_numbers(seeds, "seeds")
    (source,) = given_texts(base, "base")
    own_vae = None if vae is None else str(given_path(vae, "vae"))
    file = None if lora is None else given_path(lora, "lora")
    if file is not None:
        refuse_stranger(file, source)
    sampler = load_sampler(source, generate or GenerateTable(), vae=own_vae, on_event=on_event)
    if file is not None:
        load_lora(sampler, file, scale, on_event)
    if embedding is not None:
        word = read_embedding(given_path(embedding, "embedding"))
        load_textual_inversion(sampler.pipeline, word, str(embedding))
    jobs = [(prompt, seed) for prompt in asked for seed in numbers]
    drawn = list(sample(sampler, jobs, on_event))
    broken = [one for one in drawn if one.is_broken]
    if broken:
        what = f"{len(broken)} of {len(drawn)} pictures came out as no finite numbers"
        raise BaseModelError(what, where=str(lora or base), todo="Try a lower --scale, or another scheduler")
    return [one.image for one in drawn]
