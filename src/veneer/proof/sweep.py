"""Several adapters at several strengths against one base, each with measures and a verdict.

The base is loaded once, its pictures are drawn once. From a notebook::

    for one in sweep_loras("pocket", [lora], [0.5, 1.0], prompts=prompts, seeds=[0, 1], out=folder):
        print(one.lora, one.scale, one.comparison.summary)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from veneer.config import GenerateTable
from veneer.errors import RunError
from veneer.events import OnEvent, Progress, ignore
from veneer.lora.loading import load_lora, refuse_stranger, unload_lora
from veneer.machine import pick_device
from veneer.models.embedder import Embedders, choose_embedders
from veneer.models.sampling import Sampler, load_sampler, sample
from veneer.proof.comparison import Comparison, compare_pairs
from veneer.proof.evidence import STAGE, References
from veneer.proof.pairs import Pair
from veneer.proof.promptset import Job, build_jobs
from veneer.records.prompts import Kind, Prompt, Samples, write_prompts


@dataclass(frozen=True)
class Swept:
    """One adapter at one strength.

    Attributes:
        lora: The adapter's file.
        folder: Its pictures.
        comparison: Measures and verdict against the base.
    """

    lora: Path
    scale: float
    folder: Path
    comparison: Comparison

    @property
    def name(self) -> str:
        """The adapter and its strength, for people."""
        return f"{self.lora.stem} at {self.scale:g}"


def sweep_loras(
    base: str,
    loras: Sequence[Path],
    scales: Sequence[float],
    *,
    prompts: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    references: References | None = None,
    general_prompts: Sequence[str] = (),
    generate: GenerateTable | None = None,
    vae: str | None = None,
    embedder: str = "auto",
    prompt_margin: float = 0.02,
    on_event: OnEvent = ignore,
) -> list[Swept]:
    """Draw and compare every adapter at every strength.

    Args:
        base: Base model.
        loras: Adapter files.
        scales: Strengths, >= 0.
        prompts: Prompts that call the style.
        out: Folder of the pictures: ``base/`` and one folder for each adapter and strength.
        references: Held-out and training pictures; without them there is no style measure.
        general_prompts: Prompts outside the style.
        vae: VAE in place of the base's own.
        embedder: As the recipe's key `compare.embedder`.

    Returns:
        One entry for each adapter and strength, strengths within an adapter.

    Raises:
        RunError: If there is no adapter, strength, prompt or seed.
        AdapterError: If an adapter does not fit the base.
    """
    if not (loras and scales and prompts):
        raise RunError("nothing to compare", todo="Name at least one adapter, one scale and one prompt")
    kinds: list[tuple[str, Kind]] = [(text, "recipe") for text in prompts]
    kinds += [(text, "general") for text in general_prompts]
    asked = [Prompt(index=index, prompt=text, kind=kind) for index, (text, kind) in enumerate(kinds)]
    jobs = build_jobs(asked, seeds)
    for lora in loras:
        refuse_stranger(lora, base)
    sampler = load_sampler(base, generate or GenerateTable(), vae=vae, on_event=on_event)
    samples = Samples(out)
    _draw(sampler, jobs, samples.of("base"))
    write_prompts(samples.prompts_json, asked)
    embedders = choose_embedders(embedder, base, pick_device())
    pairs = [_pair(job, samples.of("base"), out) for job in jobs]
    known = {lora: references or References() for lora in loras}
    return sweep_pairs(
        sampler,
        pairs,
        known,
        scales,
        out=out,
        embedders=embedders,
        prompt_margin=prompt_margin,
        on_event=on_event,
    )


def sweep_pairs(
    sampler: Sampler,
    pairs: Sequence[Pair],
    references: Mapping[Path, References],
    scales: Sequence[float],
    *,
    out: Path,
    embedders: Embedders,
    prompt_margin: float = 0.02,
    on_event: OnEvent = ignore,
) -> list[Swept]:
    """Draw and compare every adapter at every strength, beside pictures of the base that are there.

    Args:
        pairs: Pictures of the base with their prompts and seeds; what stands opposite them does not count.
        references: What the pictures are held against, for each adapter.
        scales: Strengths, >= 0.
        out: Folder of the pictures, one folder in it for each adapter and strength.
        embedders: The models that pictures are seen through.

    Returns:
        One entry for each adapter and strength, strengths within an adapter.

    Raises:
        AdapterError: If an adapter does not fit the base.
    """
    for lora in references:  # one that does not fit is told before anything is drawn
        load_lora(sampler, lora, on_event=on_event)
    results: list[Swept] = []
    for number, (lora, known) in enumerate(references.items()):
        for scale in scales:
            folder = out / f"{number}-{lora.stem}-{scale:g}"
            load_lora(sampler, lora, scale)
            drawn = [replace(pair, tuned=folder / pair.base.name) for pair in pairs]
            _draw_into(sampler, [(pair.prompt, pair.seed or 0, pair.tuned) for pair in drawn])
            on_event(Progress(STAGE, len(results) + 1, folder.name))
            found = compare_pairs(drawn, known, embedders, prompt_margin=prompt_margin)
            results.append(Swept(lora, scale, folder, found))
    unload_lora(sampler)
    return results


def draw_beside(sampler: Sampler, wanted: Sequence[tuple[str, int]], out: Path) -> list[Pair]:
    """Draw prompts with seeds by the base, in ``out/base``, as pairs for `sweep_pairs`.

    Args:
        sampler: The base, no adapter on it.
        wanted: Prompts that call the style, each with its seed.
    """
    _draw(sampler, _jobs(wanted), Samples(out).of("base"))
    return pairs_beside(wanted, out)


def pairs_beside(wanted: Sequence[tuple[str, int]], out: Path) -> list[Pair]:
    """The pairs whose base's pictures `draw_beside` drew in a folder."""
    return [_pair(job, Samples(out).of("base"), out) for job in _jobs(wanted)]


def _jobs(wanted: Sequence[tuple[str, int]]) -> list[Job]:
    texts = list(dict.fromkeys(text for text, _ in wanted))
    prompts = {text: Prompt(index=index, prompt=text, kind="recipe") for index, text in enumerate(texts)}
    return [Job(prompts[text], seed) for text, seed in wanted]


def _draw(sampler: Sampler, jobs: Sequence[Job], folder: Path) -> None:
    _draw_into(sampler, [(job.prompt.prompt, job.seed, folder / job.file_name) for job in jobs])


def _draw_into(sampler: Sampler, wanted: Sequence[tuple[str, int, Path]]) -> None:
    """Draw prompts with seeds into files."""
    drawn = sample(sampler, [(prompt, seed) for prompt, seed, _ in wanted])
    for (_, _, path), one in zip(wanted, drawn, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        one.image.save(path)


def _pair(job: Job, base: Path, tuned: Path) -> Pair:
    return Pair(job.prompt.prompt, job.prompt.kind, job.seed, base / job.file_name, tuned / job.file_name)
