"""The loop against a straight float64 loop, and against the reference script's order of operations."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny
from helpers.training import copy_run, encoded_run, log_lines, recipe_for, train_quietly
from veneer.config import LoraTable
from veneer.lora.adapter import adapter_state, attach, trainable
from veneer.models.base import load_base
from veneer.records.cache import CacheReader, read_index
from veneer.records.run import RunDir
from veneer.seeds import derive
from veneer.stages.encode import encode
from veneer.training import randomness
from veneer.training.data_order import DataOrder

STEPS = 4
RATE = 1e-2


@pytest.fixture(scope="module")
def run(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return encoded_run(
        tmp_path_factory.mktemp("exact") / "run", recipe_for(base_folder, encode={"flip": 0.0})
    )


def loss64(
    pred: torch.Tensor,
    x: torch.Tensor,
    noise: torch.Tensor,
    t: int,
    a: float,
    prediction_type: str,
    train: dict[str, Any],
) -> torch.Tensor:
    """Mean loss of one picture in float64, from the formulas of the papers."""
    target = noise if prediction_type == "epsilon" else a**0.5 * noise - (1 - a) ** 0.5 * x
    d, c = pred - target, 0.1 ** (t / 1000)
    loss = d.pow(2) if train.get("loss_type") != "huber" else 2 * c * ((d.pow(2) + c * c).sqrt() - c)
    snr = a / (1 - a)
    of_latents = {"min_snr": min(snr, 5.0), "debiased": snr**0.5}.get(train.get("loss_weighting", ""))
    factor = snr if prediction_type == "epsilon" else snr + 1
    return loss.mean() * (1.0 if of_latents is None else of_latents / factor)


def float64_losses(
    run: RunDir, base_folder: Path, train: dict[str, Any], prediction_type: str = "epsilon"
) -> list[float]:
    """The report's procedure in float64, written down from its formulas with nothing of Veneer's trainer."""
    max_grad_norm, accumulation = train.get("max_grad_norm", 1.0), train.get("gradient_accumulation_steps", 1)
    offset = train.get("noise_offset", 0.0)
    base = load_base(str(base_folder), parts=("unet", "scheduler"))
    attach(base.unet, LoraTable(), seed=0)
    unet = base.unet.double()
    parameters = list(trainable(unet).values())
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    index, reader = read_index(run), CacheReader(run.cache)
    items = index.split("train")
    order = DataOrder((tuple(range(len(items))),), 2, derive(0, "order-train"))
    alphas = base.scheduler.alphas_cumprod.double()
    losses = []
    for step in range(1, STEPS + 1):
        unet.zero_grad()
        total = 0.0
        for micro in range(accumulation):
            for j, number in enumerate(order.micro_batch((step - 1) * accumulation + micro)):
                place, item = micro * 2 + j, items[number]
                stored = {k: v.double() for k, v in reader.tensors(item.latents).items()}
                shape = stored["mean"].shape[1:]
                eps = randomness.normal(0, "latents", step, [place], shape).double()
                x = stored["mean"] + stored["std"] * eps
                noise = randomness.normal(0, "noise", step, [place], shape).double()
                noise += (
                    offset * randomness.normal(0, "noise-offset", step, [place], (shape[0], 1, 1)).double()
                )
                t = randomness.timesteps(0, step, [place], 2 * accumulation, (0, 1000))
                a = float(alphas[t])
                hidden = reader.text(item.text)["encoder_hidden_states"][None].double()
                pred = unet(a**0.5 * x + (1 - a) ** 0.5 * noise, t, hidden).sample
                loss = loss64(pred, x, noise, int(t), a, prediction_type, train) / (2 * accumulation)
                loss.backward()
                total += float(loss.detach())
        losses.append(total)
        norm = math.sqrt(sum(float(p.grad.pow(2).sum()) for p in parameters))
        rate = RATE * 0.5 * (1 + math.cos(math.pi * (step - 1) / STEPS))
        with torch.no_grad():
            for p, (m, v) in zip(parameters, moments, strict=True):
                g = p.grad * min(1.0, max_grad_norm / (norm + 1e-6))
                m.mul_(0.9).add_(g, alpha=0.1)
                v.mul_(0.999).addcmul_(g, g, value=0.001)
                p.mul_(1 - rate * 1e-2)
                update = (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
                p.sub_(rate * update)
    return losses


OBJECTIVES = [
    {},
    {"max_grad_norm": 0.01, "gradient_accumulation_steps": 2},
    {"loss_weighting": "min_snr", "noise_offset": 0.1},
    {"loss_weighting": "debiased", "loss_type": "huber"},
]


@pytest.mark.parametrize("options", OBJECTIVES, ids=str)
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_losses_are_those_of_a_float64_loop(
    run: RunDir, base_folder: Path, tmp_path: Path, prediction_type: str, options: dict[str, Any]
) -> None:
    train = {"max_train_steps": STEPS, "learning_rate": RATE, "validation_steps": 100} | options
    own, base = copy_run(run, tmp_path / "own"), base_folder
    if prediction_type != "epsilon":
        base = tiny.tiny_base(tmp_path / "base", prediction_type=prediction_type)
        encode(own, recipe_for(base, encode={"flip": 0.0}))
    train_quietly(own, recipe_for(base, encode={"flip": 0.0}, train=train))
    expected = float64_losses(own, base, train, prediction_type)
    assert [line["loss"] for line in log_lines(own)] == pytest.approx(expected, rel=2e-5)


def reference_adapter(base_folder: Path, dtype: torch.dtype) -> Any:
    """Network and adapter as the widely copied script makes them: the adapter takes the base's precision."""
    base = load_base(str(base_folder), dtype=dtype, parts=("unet",))
    attach(base.unet, LoraTable(), seed=0)
    for parameter in trainable(base.unet).values():
        parameter.data = parameter.data.to(dtype)
    return base.unet


def test_a_filter_used_up_by_the_optimizer_clips_nothing(base_folder: Path) -> None:
    unet = reference_adapter(base_folder, torch.float32)
    layers = filter(lambda p: p.requires_grad, unet.parameters())
    torch.optim.AdamW(layers, lr=RATE)
    for parameter in trainable(unet).values():
        parameter.grad = torch.ones_like(parameter)
    assert float(torch.nn.utils.clip_grad_norm_(layers, 1e-6)) == 0.0
    assert all(bool((p.grad == 1).all()) for p in trainable(unet).values())

    from veneer.training.optimizers import Gradients

    gradients = Gradients(list(trainable(unet).values()))
    for parameter in trainable(unet).values():
        parameter.grad.fill_(1)
    before, after = gradients.clip(1e-6)
    assert float(before) > 1
    assert float(after) == pytest.approx(1e-6, rel=1e-2)


def test_bfloat16_adapters_lose_small_updates_and_ours_do_not(
    run: RunDir, base_folder: Path, tmp_path: Path
) -> None:
    unet = reference_adapter(base_folder, torch.bfloat16)
    start = copy.deepcopy(adapter_state(unet))
    optimizer = torch.optim.AdamW(trainable(unet).values(), lr=1e-4)
    for _ in range(10):
        for parameter in trainable(unet).values():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    assert unmoved(start, adapter_state(unet)) > 0.7

    from veneer.training import checkpoints

    train = {"max_train_steps": 4, "learning_rate": 1e-4, "mixed_precision": "bf16", "validation_steps": 100}
    own = copy_run(run, tmp_path / "own")
    train_quietly(own, recipe_for(base_folder, encode={"flip": 0.0}, train=train))
    found = checkpoints.load(own.checkpoint(4)).tensors
    first = reference_adapter(base_folder, torch.float32)
    assert unmoved(adapter_state(first), found["adapter"]) < 0.01
    assert all(t.dtype == torch.float32 for t in [*found["adapter"].values(), *found["optimizer"].values()])


def unmoved(before: Any, after: Any) -> float:
    """Share of A's entries that are what they were."""
    pairs = [(before[name], after[name]) for name in before if "lora_A" in name]
    same = sum(int((a == b).sum()) for a, b in pairs)
    return same / sum(a.numel() for a, _ in pairs)
