"""The methods of the bench: what each changes in the recipe, how it is trained, and what it is worth."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

from veneer.config import Recipe
from veneer.lora.embedding_file import load_textual_inversion, read_embedding, unload_textual_inversion
from veneer.lora.loading import load_lora, unload_lora
from veneer.models.embedder import Embedders, choose_embedders
from veneer.models.sampling import Sampler, load_sampler, sample
from veneer.pipeline import run_stage
from veneer.proof.comparison import compare_pairs
from veneer.proof.evidence import References
from veneer.proof.history import losses_of, picture_losses
from veneer.proof.pairs import find_pairs
from veneer.proof.promptset import Job, build_jobs, build_prompts
from veneer.recipe import fingerprint, load_recipe, resolve
from veneer.records.cache import read_index
from veneer.records.candidates import known_candidates
from veneer.records.dataset import Dataset, Item
from veneer.records.files import write_json
from veneer.records.prompts import Prompt
from veneer.records.run import RunDir
from veneer.stages.encode import encode
from veneer.stages.export import export
from veneer.stages.train import train
from veneer.stats import Measure

WORD = "<eightbit>"
CALLED_BY = "8-bit"
"""What a learnt word takes the place of, in captions and prompts; the base keeps it."""
MEASURES = ("validation_loss", "style", "style_texture", "prompt", "diversity", "forgetting")
PRIOR = "PRIOR"
"""Stands for the folder of the base's own pictures in a method's settings."""
RECIPE = "attention"
"""The method that changes nothing: what the others are held against."""
START: Mapping[str, Any] = {"lora.rank": 4, "lora.lora_alpha": 4.0, "lora.target_modules": "attention"}
"""The report's adapter, from which every method sets out, whatever the shipped recipe has taken from them."""

METHODS: Mapping[str, Mapping[str, Any]] = {
    RECIPE: {},
    "attention+ff": {"lora.target_modules": "attention+ff"},
    "attention+ff+conv": {"lora.target_modules": "attention+ff+conv"},
    "rank 16": {"lora.rank": 16, "lora.lora_alpha": 16.0},
    "rank 16 in the middle": {"lora.rank_pattern": {"mid_block": 16}},
    "kaiming": {"lora.init": "kaiming"},
    "rsLoRA, rank 16": {"lora.rank": 16, "lora.use_rslora": True},
    "DoRA": {"lora.use_dora": True},
    "LoKr": {"lora.method": "lokr"},
    "LoHa": {"lora.method": "loha"},
    "OFT, blocks of 32": {"lora.method": "oft", "lora.rank": 32},
    "LoRA+, 8": {"train.loraplus_ratio": 8.0},
    "dropout 0.1": {"lora.dropout": 0.1},
    "T-LoRA": {"lora.timestep_rank": True},
    "text-encoder LoRA": {"lora.text_encoder": True},
    "text-encoder LoRA alone": {"lora.text_encoder": True, "lora.target_modules": "none"},
    "word alone": {
        "lora.target_modules": "none",
        "lora.embedding_token": WORD,
        "lora.embedding_vectors": 2,
        "train.learning_rate": 2e-2,
    },
    "word and LoRA": {
        "lora.embedding_token": WORD,
        "lora.embedding_vectors": 2,
        "train.learning_rates": {"token_embedding": 2e-2},
    },
    "EMA 0.98": {"train.ema_decay": 0.98},
    "mean of the last 2": {"train.average_last": 2},
    "min-SNR": {"train.loss_weighting": "min_snr"},
    "soft min-SNR": {"train.loss_weighting": "soft_min_snr"},
    "debiased": {"train.loss_weighting": "debiased"},
    "Huber": {"train.loss_type": "huber"},
    "noise offset 0.05": {"train.noise_offset": 0.05},
    "input perturbation 0.1": {"train.input_perturbation": 0.1},
    "timesteps stratified": {"train.timestep_sampling": "stratified"},
    "timesteps logit-normal": {"train.timestep_sampling": "logit_normal"},
    "timesteps from 300": {"train.timestep_range": (300, 1000)},
    "caption dropout 0.1": {"train.caption_dropout": 0.1},
    "prior prediction": {"train.prior_loss_weight": 0.5},
    "prior pictures": {"train.prior_loss_weight": 0.5, "train.prior_sources": (PRIOR,)},
    "constant rate": {"train.lr_scheduler": "constant"},
    "Prodigy": {"train.optimizer": "prodigy", "train.learning_rate": 1.0},
    "schedule-free": {"train.optimizer": "schedulefree", "train.lr_scheduler": "constant_with_warmup"},
    "Adafactor": {"train.optimizer": "adafactor"},
    "Lion, a fifth of the rate": {"train.optimizer": "lion", "train.learning_rate": 4e-4},
    "8-bit AdamW": {"train.optimizer": "adamw8bit"},
}


@dataclass(frozen=True)
class Budget:
    """How much a method is trained and measured.

    Attributes:
        batch: Pictures of a step.
        sampling: Denoising steps of a picture.
        general: General prompts that are drawn.
    """

    steps: int = 200
    batch: int = 2
    sampling: int = 12
    general: int = 4


@dataclass(frozen=True)
class Row:
    """A measured method.

    Attributes:
        identity: What it depends on.
        settings: What it changes in the recipe.
        measures: Base, tuned and interval of each measure; None where it cannot be had.
        losses: Held-out loss of the chosen checkpoint on each held-out picture.
        chosen: Kind and step of the chosen checkpoint.
        verdict: What `veneer compare` would say.
        parameters: Trained numbers.
        seconds: Seconds of training.
        failed: Why there are no figures; empty otherwise.
    """

    identity: str
    name: str
    settings: Mapping[str, Any]
    measures: Mapping[str, Any] = field(default_factory=dict)
    losses: Sequence[float] = ()
    chosen: str = ""
    verdict: str = ""
    parameters: int = 0
    seconds: float = 0.0
    failed: str = ""


@dataclass(frozen=True)
class Bench:
    """What all methods share: one data set, one base on an sampler, its pictures, one embedder.

    Attributes:
        shared: Run folder with data set and cache.
        work: Folder of the methods.
        budget: How much is trained and measured.
        jobs: What is drawn.
        embedders: What pictures are seen through.
        weights: Hash of all bundled weights.
    """

    shared: RunDir
    work: Path
    budget: Budget
    jobs: tuple[Job, ...]
    sampler: Sampler
    embedders: Embedders
    weights: str

    def identity(self, name: str) -> str:
        """What a method's figures depend on.

        Returns:
            A hash.
        """
        recipe = recipe_of(METHODS[name], self.budget, self.shared.root / "prior")
        asked = [[job.prompt.prompt, job.seed] for job in self.jobs]
        return fingerprint([self.weights, asdict(self.budget), recipe.model_dump(mode="json"), asked])


def recipe_of(settings: Mapping[str, Any], budget: Budget, prior: Path) -> Recipe:
    """The recipe of a method.

    Args:
        settings: What it changes, by table and key.
        budget: How much is trained.
        prior: Folder of the base's own pictures.

    Returns:
        `pocket-8bit` with the report's adapter and the changes.
    """
    half = max(1, budget.steps // 2)
    tables = load_recipe("pocket-8bit").model_dump(mode="json", exclude_none=True)
    own = {
        "train.max_train_steps": budget.steps,
        "train.train_batch_size": budget.batch,
        "train.validation_steps": half,
        "train.checkpointing_steps": half,
        "generate.num_inference_steps": budget.sampling,
    }
    for name, value in {**START, **own, **settings}.items():
        table, key = name.split(".")
        tables[table][key] = (str(prior),) if value == (PRIOR,) else value
    return resolve(tables)


def set_up_bench(work: Path, budget: Budget, weights: str) -> Bench:
    """Make what the methods share, or find it made.

    Args:
        work: Work folder of these weights.
        budget: How much is trained and measured.
        weights: Hash of all bundled weights.
    """
    shared = RunDir(work / "shared")
    shared.root.mkdir(parents=True, exist_ok=True)
    recipe = recipe_of({}, budget, shared.root / "prior")
    shared.write_recipe(recipe)
    for stage in ("collect", "check", "caption", "encode"):
        run_stage(stage, shared, redo=False)
    held_out = [item.caption for item in read_index(shared).split("held_out")]
    prompts = build_prompts(recipe, held_out)
    general = [prompt for prompt in prompts if prompt.kind == "general"]
    kept = [prompt for prompt in prompts if prompt not in general[budget.general :]]
    jobs = tuple(build_jobs(kept, recipe.generate.seeds[:2]))
    sampler = load_sampler("pocket", recipe.generate, side_px=recipe.encode.resolution)
    device = sampler.pipeline.device
    bench = Bench(shared, work, budget, jobs, sampler, choose_embedders("pocket", "pocket", device), weights)
    _draw(bench, shared.root / f"base-{budget.sampling}", jobs)
    _write_prior(bench, general)
    return bench


def measure(bench: Bench, name: str) -> Row:
    """Train, export, draw and compare one method.

    Args:
        bench: What the methods share.

    Returns:
        Its figures.
    """
    settings = METHODS[name]
    run = RunDir(bench.work / "methods" / fingerprint(name))
    recipe = recipe_of(settings, bench.budget, bench.shared.root / "prior")
    has_word = bool(recipe.lora.embedding_token)
    _prepare(bench, run, recipe)
    began = time.monotonic()
    result = train(run, recipe)
    seconds = time.monotonic() - began
    export(run, recipe)
    if run.lora_file.is_file():
        load_lora(bench.sampler, run.lora_file)
    if has_word:
        load_textual_inversion(bench.sampler.pipeline, read_embedding(run.embedding_file))
    _draw(bench, run.samples, [_called(job) for job in bench.jobs] if has_word else bench.jobs)
    unload_lora(bench.sampler)
    unload_textual_inversion(bench.sampler.pipeline, WORD)
    compared = _compare(bench, run)
    return Row(
        identity=bench.identity(name),
        name=name,
        settings=settings,
        measures={key: None if one is None else one.plain() for key, one in compared[0].items()},
        losses=result.chosen.losses,
        chosen=f"{result.chosen.kind} {result.chosen.step}",
        verdict=compared[1],
        parameters=_count(run),
        seconds=round(seconds, 1),
    )


def _prepare(bench: Bench, run: RunDir, recipe: Recipe) -> None:
    """A run folder with the shared pictures and latents; a word has captions of its own."""
    shutil.rmtree(run.root, ignore_errors=True)
    shutil.copytree(bench.shared.dataset, run.dataset)
    shutil.copytree(bench.shared.cache, run.cache)
    if recipe.lora.embedding_token:
        dataset = Dataset(run.dataset)
        items = [Item(i.file_name, i.caption.replace(CALLED_BY, WORD)) for i in dataset.captioned_items()]
        dataset.write_metadata(items)
    run.write_recipe(recipe)
    encode(run, recipe)


def _called(job: Job) -> Job:
    prompt = job.prompt
    return Job(prompt.model_copy(update={"prompt": prompt.prompt.replace(CALLED_BY, WORD)}), job.seed)


def _draw(bench: Bench, folder: Path, jobs: Sequence[Job]) -> None:
    if all((folder / job.file_name).is_file() for job in jobs):
        return
    folder.mkdir(parents=True, exist_ok=True)
    drawn = sample(bench.sampler, [(job.prompt.prompt, job.seed) for job in jobs])
    for job, one in zip(jobs, drawn, strict=True):
        one.image.save(folder / job.file_name)


def _write_prior(bench: Bench, general: Sequence[Prompt]) -> None:
    """The base's own pictures of general prompts, for prior preservation."""
    folder = bench.shared.root / "prior"
    jobs = [Job(prompt, 5000 + prompt.index) for prompt in general]
    _draw(bench, folder / "images", jobs)
    items = [Item(f"images/{job.file_name}", job.prompt.prompt) for job in jobs]
    Dataset(folder).write_metadata(items)


def _compare(bench: Bench, run: RunDir) -> tuple[dict[str, Measure | None], str]:
    index, candidates = read_index(run), known_candidates(run)
    held_out, training = index.split("held_out"), index.split("train")
    references = References(
        held_out=tuple(run.dataset / item.file_name for item in held_out),
        training=tuple(run.dataset / item.file_name for item in training),
        losses=losses_of(candidates),
        picture_losses=picture_losses(candidates),
    )
    base = bench.shared.root / f"base-{bench.budget.sampling}"
    pairs = find_pairs(base, run.samples, list(dict.fromkeys(job.prompt for job in bench.jobs)))
    found = compare_pairs(pairs, references, bench.embedders)
    return {name: found.measures.get(name) for name in MEASURES}, found.verdict.word


def _count(run: RunDir) -> int:
    """Trained numbers of the exported files."""
    total = 0
    for path in (run.lora_file, run.embedding_file):
        if path.is_file():
            with safe_open(path, "pt") as file:
                total += sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    return total


def read_row(path: Path, identity: str) -> Row | None:
    """Read a method's figures.

    Args:
        identity: What they must depend on.

    Returns:
        The figures; None where there are none, or of other weights or settings.
    """
    if not path.is_file():
        return None
    plain = json.loads(path.read_text("utf-8"))
    return Row(**plain) if plain["identity"] == identity else None


def write_row(path: Path, row: Row) -> None:
    """Keep a method's figures."""
    write_json(path, asdict(row))
