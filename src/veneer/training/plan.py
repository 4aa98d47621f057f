"""What a training will take, told before anything loads: ``veneer train RUN --plan``.

The UNet is built without memory (torch's meta device) and run once, so that operations and activations are
counted and not guessed; time is then the operations over what this machine does in a matrix product, and on
a GPU the launches of its kernels beside it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from veneer import machine, processes
from veneer.config import Recipe
from veneer.encoding.split import held_out_count
from veneer.kernels.attention import counting_weights
from veneer.kernels.int8 import linear_layers
from veneer.lora.adapter import attach, trainable
from veneer.lora.methods import attach_method
from veneer.models.base import Base, load_base_of
from veneer.records.cache import read_index
from veneer.records.dataset import Dataset
from veneer.records.run import RunDir
from veneer.training.machine_limits import fit_precision, this_machine
from veneer.training.network import KEPT_SHARE, base_dtype
from veneer.training.optimizers import OPTIMIZERS
from veneer.training.validation import grid

GIB = 2**30
BACKWARD_SHARE = 1.13
"""Operations of the backward pass over those of the forward: weights of the base get no gradient."""
CHECKPOINTED_SHARE = 0.25
"""Activations kept under gradient checkpointing, as a share of all."""
CPU_SHARE, GPU_SHARE = 0.6, 0.3
"""Share of a matrix product's speed that a step reaches; on a GPU what is left when launches are counted."""
GRAPH_SECONDS, EAGER_SECONDS = 12e-6, 160e-6
"""Seconds of a GPU for a layer's launches, forward and backward: as one CUDA graph, and from Python."""
RUNTIME_GIB = 0.6
"""Memory of Python and its libraries."""


@dataclass(frozen=True)
class Plan:
    """What a training will take; memory and time are estimates.

    Attributes:
        pictures: Pictures trained on.
        held_out: Pictures held out.
        pictures_per_step: Size of the global batch.
        pictures_seen: Pictures over all steps, repeats counted.
        epochs: Times that each picture comes up.
        trained_parameters: Numbers that are trained.
        checkpoints: Checkpoints kept at the end.
        disk_gib: Disk that they take, in GiB.
        tflop_per_step: Floating-point operations of a step, in 10**12.
        memory_gib: Peak memory of one process, in GiB.
        int8_gib: The same with `train.base_weights = "int8"`.
        hours: Hours of all steps and validations.
    """

    steps: int
    pictures: int
    held_out: int
    pictures_per_step: int
    pictures_seen: int
    epochs: float
    trained_parameters: int
    checkpoints: int
    disk_gib: float
    tflop_per_step: float
    memory_gib: float
    int8_gib: float
    seconds_per_step: float
    hours: float


@dataclass(frozen=True)
class _Counted:
    trained: int
    frozen: int
    linear: int
    forward_flop: int
    activation_bytes: int
    attention_weights: int
    layers: int


def plan(run: RunDir, recipe: Recipe) -> Plan:
    """Tell what a training will take.

    Raises:
        DatasetError: If there is no data set yet.
        BaseModelError: If the base's settings cannot be read.
    """
    return plan_for(recipe, *_pictures(run, recipe))


def plan_for(recipe: Recipe, pictures: int, held_out: int) -> Plan:
    """Tell what a training will take where there is no run folder yet.

    Args:
        pictures: Pictures to train on.
        held_out: Pictures held out.

    Raises:
        BaseModelError: If the base's settings cannot be read.
    """
    recipe = fit_precision(recipe, this_machine())
    settings = recipe.train
    batch = settings.train_batch_size * settings.gradient_accumulation_steps
    base = load_base_of(recipe.base, parts=())
    counted = _count(base, recipe)
    saved = _checkpoints(recipe)
    forwards = 1.0 + BACKWARD_SHARE
    if settings.prior_loss_weight:
        forwards *= 2
    flop = counted.forward_flop * forwards * batch
    rate = _flop_per_second(recipe)
    again = counted.forward_flop * batch if settings.gradient_checkpointing else 0
    step = _seconds(flop + again, counted.layers * settings.gradient_accumulation_steps, rate, recipe)
    points = len(grid(held_out, (0, 1000))) * (settings.max_train_steps // settings.validation_steps + 1)
    seconds = settings.max_train_steps * step + _seconds(points * counted.forward_flop, 0, rate, recipe)
    return Plan(
        steps=settings.max_train_steps,
        pictures=pictures,
        held_out=held_out,
        pictures_per_step=batch,
        pictures_seen=batch * settings.max_train_steps,
        epochs=round(batch * settings.max_train_steps / pictures, 1),
        trained_parameters=counted.trained,
        checkpoints=saved,
        disk_gib=round(saved * _copies(recipe) * 4 * counted.trained / GIB, 6),
        tflop_per_step=round(flop / 1e12, 6),
        memory_gib=round(_memory(counted, recipe, is_int8=settings.base_weights is not None), 1),
        int8_gib=round(_memory(counted, recipe, is_int8=True), 1),
        seconds_per_step=round(step, 4),
        hours=round(seconds / 3600, 2),
    )


def _pictures(run: RunDir, recipe: Recipe) -> tuple[int, int]:
    if run.cache_index.is_file():
        index = read_index(run)
        return len(index.split("train")), len(index.split("held_out"))
    count = len(Dataset(run.dataset).picture_names())
    held_out = held_out_count(count, recipe.train.validation_share)
    return max(1, count - held_out), held_out


def _checkpoints(recipe: Recipe) -> int:
    settings = recipe.train
    saved = -(-settings.max_train_steps // settings.checkpointing_steps)
    if settings.checkpoints_total_limit is None:
        return saved
    return min(saved, max(settings.checkpoints_total_limit, settings.average_last))


def _copies(recipe: Recipe) -> float:
    """Numbers kept for each trained one: itself, the optimizer's, and the moving average."""
    return 1 + OPTIMIZERS[recipe.train.optimizer].states + (1 if recipe.train.ema_decay else 0)


def _memory(counted: _Counted, recipe: Recipe, *, is_int8: bool) -> float:
    settings = recipe.train
    width = base_dtype(settings.mixed_precision).itemsize
    share = -(-settings.train_batch_size // processes.num_processes())
    activations = counted.activation_bytes * width / 4 * share
    device = machine.pick_device().type
    if device == "cuda":  # its kernels keep no attention weights, and those of the meta device do
        activations -= width * counted.attention_weights * share
    if settings.gradient_checkpointing:
        activations *= CHECKPOINTED_SHARE
    elif device == "cpu" and settings.mixed_precision == "bf16":
        activations += min(width * counted.attention_weights * share, machine.free_memory() // KEPT_SHARE)
    adapter = 4 * counted.trained * (_copies(recipe) + 1)
    frozen = counted.frozen * width - (counted.linear * (width - 1) if is_int8 else 0)
    return (frozen + activations + adapter) / GIB + RUNTIME_GIB


def _count(base: Base, recipe: Recipe) -> _Counted:
    family, config = base.family, base.settings[base.family.denoiser]
    side = recipe.encode.resolution // base.vae_factor
    with torch.device("meta"):
        unet = family.networks[family.denoiser].from_config(config)
        frozen = sum(parameter.numel() for parameter in unet.parameters())
        linear = sum(layer.weight.numel() for layer in linear_layers(unet, family.lora.layers).values())
        put_on = attach_method if recipe.lora.method else attach
        put_on(unet.requires_grad_(False), recipe.lora, seed=0)
        latents = torch.zeros(1, config["in_channels"], side, side)
        needs_gradient = recipe.lora.text_encoder or bool(recipe.lora.embedding_token)
        told = family.probe(base.settings, lambda shape: torch.zeros(shape, requires_grad=needs_gradient))
        saving, counting, flops = _saved_bytes(unet), counting_weights(unet), FlopCounterMode(display=False)
        with saving as saved, counting as weights, flops as flop:
            family.predict(unet, latents, torch.zeros(1, dtype=torch.int64), told)
    trained = sum(parameter.numel() for parameter in trainable(unet).values())
    layers = _count_layers(unet)
    counted = _Counted(
        trained, frozen, linear, flop.get_total_flops(), sum(saved.values()), sum(weights), layers
    )
    if not needs_gradient:
        return counted
    texts = [_count_text_encoder(part, base, recipe) for part in family.text_encoders]
    return _Counted(*(sum(values) for values in zip(astuple(counted), *map(astuple, texts), strict=True)))


def _count_text_encoder(part: str, base: Base, recipe: Recipe) -> _Counted:
    """A text encoder that runs in every step, because a part of it is trained."""
    lora, kind = recipe.lora, base.family.networks[part]
    config = kind.config_class(**base.settings[part])
    with torch.device("meta"):
        text_encoder = kind(config).requires_grad_(False)
        frozen = sum(parameter.numel() for parameter in text_encoder.parameters())
        if lora.text_encoder:
            put_on = attach_method if lora.method else attach
            put_on(text_encoder, lora, seed=0)
        else:
            text_encoder.get_input_embeddings().requires_grad_()  # so that activations are kept
        ids = torch.zeros(1, 77, dtype=torch.int64)
        with _saved_bytes(text_encoder) as saved, FlopCounterMode(display=False) as flop:
            text_encoder(ids)
    trained = (
        sum(parameter.numel() for parameter in trainable(text_encoder).values()) if lora.text_encoder else 0
    )
    if lora.embedding_token:
        trained += lora.embedding_vectors * config.hidden_size
    layers = _count_layers(text_encoder)
    return _Counted(trained, frozen, 0, flop.get_total_flops(), sum(saved.values()), 0, layers)


def _count_layers(module: nn.Module) -> int:
    """Modules that hold no others: each is a few kernels."""
    return sum(next(one.children(), None) is None for one in module.modules())


@contextlib.contextmanager
def _saved_bytes(module: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes that are kept for the backward pass, by storage; the module's own weights do not count."""
    own = {parameter.untyped_storage()._cdata for parameter in module.parameters()}
    saved: dict[int, int] = {}
    alive: list[Tensor] = []  # a storage that is gone would give its number to another

    def note(tensor: Tensor) -> Tensor:
        key = tensor.untyped_storage()._cdata
        if key not in own:
            saved[key] = tensor.untyped_storage().nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield saved


def _seconds(flop: float, layers: int, rate: float, recipe: Recipe) -> float:
    """Seconds of work.

    Args:
        flop: Its operations.
        layers: Layers that are launched for it.
        rate: Operations a second of this machine in a matrix product.

    Returns:
        Seconds on all processes together.
    """
    count = processes.num_processes()
    if machine.pick_device().type != "cuda":
        return flop / (rate * CPU_SHARE * count)
    computing = flop / (rate * GPU_SHARE * count)
    # A graph's launches wait for what ran before; Python's run ahead of the card where it is the slower.
    if recipe.train.cuda_graph:
        return computing + layers * GRAPH_SECONDS
    return max(computing + layers * GRAPH_SECONDS, layers * EAGER_SECONDS)


def _flop_per_second(recipe: Recipe) -> float:
    """Of random numbers: a processor is quicker with ones, by less switching and more clock."""
    device = machine.pick_device()
    side = 8192 if device.type == "cuda" else 1024
    generator = torch.Generator(device).manual_seed(0)
    matrix = torch.randn(side, side, device=device, generator=generator)
    matrix = matrix.to(base_dtype(recipe.train.mixed_precision))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        times.append(time.perf_counter() - start)
    return float(2 * side**3 / min(times))
