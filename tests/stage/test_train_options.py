"""Every option of the recipe that training reads acts: the trained weights are others than without it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image

from helpers import tiny
from helpers.training import encoded_run, log_lines, recipe_for, train_quietly, write_dataset
from veneer.config import LoraTable, Recipe, TrainTable
from veneer.errors import RecipeError
from veneer.events import Event, Notice
from veneer.records.run import RunDir
from veneer.stages.encode import encode
from veneer.training import checkpoints
from veneer.training.optimizers import OPTIMIZERS

STEPS = 3
QUICK = {
    "max_train_steps": STEPS,
    "timestep_range": (0, 100),
    "validation_share": 0.0,
    "checkpointing_steps": 100,
    "learning_rate": 1e-2,
}
CAPTION = {"prefix": "a picture"}


def quick_recipe(base: Path, tables: dict[str, dict[str, Any]]) -> Recipe:
    train = QUICK | tables.get("train", {})
    return recipe_for(base, caption=CAPTION, **{**tables, "train": train})


class Outcome(NamedTuple):
    """What a training left behind."""

    weights: Mapping[str, torch.Tensor]
    losses: list[float]
    events: list[Event]


class Outcomes:
    """Trains with some settings. What was encoded alike is encoded once."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.base, self.folder = base, folder
        self.prior = tiny.tiny_pictures(folder / "prior", 5)
        self._runs: dict[str, RunDir] = {}

    def __call__(self, **tables: dict[str, Any]) -> Outcome:
        recipe = quick_recipe(self.base, tables)
        run = prepared(self.folder, self._runs, recipe)
        _, events = train_quietly(run, recipe)
        weights = checkpoints.load(run.checkpoint(STEPS)).tensors["adapter"]
        losses = [line["loss"] for line in log_lines(run)]
        shutil.rmtree(run.train)
        return Outcome(weights, losses, events)


@pytest.fixture(scope="module")
def outcomes(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return Outcomes(base_folder, tmp_path_factory.mktemp("options"))


def prepared(folder: Path, runs: dict[str, RunDir], recipe: Recipe) -> RunDir:
    read = recipe.train.prior_sources, recipe.train.prior_loss_weight, recipe.train.masked_loss, recipe.encode
    key = str(read)
    if key not in runs:
        run = RunDir(folder / f"run-{len(runs)}")
        write_dataset(run, 6)
        for path in sorted((run.dataset / "images").glob("picture-00?.png")):
            mask = Image.new("L", (64, 64), 0)
            mask.paste(255, (0, 0, 20, 64))
            mask.save(path.with_name(f"{path.stem}.mask.png"))
        encode(run, recipe)
        runs[key] = run
    return runs[key]


def same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(x.shape == b[k].shape and torch.equal(x, b[k]) for k, x in a.items())


WORD = {"embedding_token": "picture", "embedding_init": "city"}
WORD_OPTIONS: list[dict[str, Any]] = [{"embedding_vectors": 2}, {"embedding_init": "the"}]
LORA: list[dict[str, Any]] = [
    {"rank": 2},
    {"lora_alpha": 8.0},
    {"target_modules": "attention+ff"},
    {"target_modules": "attention+ff+conv"},
    {"target_modules": ("to_q",)},
    {"target_modules": "none", "text_encoder": True},
    {"init": "kaiming"},
    {"dropout": 0.5},
    {"use_rslora": True},
    {"use_dora": True},
    {"rank_pattern": {"to_q": 2}},
    {"timestep_rank": True},
    {"text_encoder": True},
    WORD,
]
TRAIN: list[dict[str, Any]] = [
    {"train_batch_size": 3},
    {"gradient_accumulation_steps": 2},
    {"learning_rate": 2e-2},
    {"learning_rates": {r"to_q\.": 1e-3}},
    {"loraplus_ratio": 16.0},
    *({"optimizer": name} for name in OPTIMIZERS if name not in {"adamw", "adamw8bit"}),  # usual; on a GPU
    {"lr_scheduler": "constant"},
    {"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 2},
    {"lr_scheduler": "linear"},
    {"lr_scheduler": "cosine_with_restarts"},
    {"lr_scheduler": "polynomial"},
    {"lr_warmup_steps": 1},
    {"adam_weight_decay": 1.0},
    {"max_grad_norm": 1e-9},
    {"mixed_precision": "bf16"},
    {"base_weights": "int8"},
    {"loss_weighting": "min_snr"},
    {"loss_weighting": "soft_min_snr"},
    {"loss_weighting": "debiased"},
    {"loss_type": "huber"},
    {"noise_offset": 0.1},
    {"input_perturbation": 0.1},
    {"timestep_range": (500, 1000)},
    {"timestep_sampling": "stratified"},
    {"timestep_sampling": "logit_normal"},
    {"caption_dropout": 1.0},
    {"masked_loss": True},
    {"prior_loss_weight": 1.0},
    {"seed": 1},
]


@pytest.fixture(scope="module")
def plain(outcomes: Outcomes) -> Outcome:
    return outcomes()


def changed(outcomes: Outcomes, plain: Outcome, **tables: dict[str, Any]) -> None:
    weights, losses, _ = outcomes(**tables)
    assert not same(weights, plain[0])
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    assert all(loss is not None for loss in losses)


@pytest.mark.parametrize("option", LORA, ids=str)
def test_adapter_options_act(outcomes: Outcomes, plain: Outcome, option: dict[str, Any]) -> None:
    changed(outcomes, plain, lora=option)


@pytest.mark.parametrize("option", TRAIN, ids=str)
def test_training_options_act(outcomes: Outcomes, plain: Outcome, option: dict[str, Any]) -> None:
    changed(outcomes, plain, train=option)


@pytest.mark.parametrize(
    "option", [{"flip": 0.0}, {"variants": 2}, {"buckets": True}, {"resolution": 40}], ids=str
)
def test_encoding_options_act(outcomes: Outcomes, plain: Outcome, option: dict[str, Any]) -> None:
    changed(outcomes, plain, encode=option)


def test_settings_of_a_learnt_word_act(outcomes: Outcomes) -> None:
    first = outcomes(lora=WORD)[0]
    for option in WORD_OPTIONS:
        assert not same(outcomes(lora=WORD | option)[0], first)


def test_the_same_settings_give_the_same_bytes(outcomes: Outcomes, plain: Outcome) -> None:
    assert same(outcomes()[0], plain[0])


def test_dropout_is_drawn_by_seed_and_leaves_torch_alone(outcomes: Outcomes) -> None:
    torch.manual_seed(5)
    first = outcomes(lora={"dropout": 0.5})[0]
    assert torch.initial_seed() == 5
    torch.manual_seed(6)
    assert same(first, outcomes(lora={"dropout": 0.5})[0])


def test_gradient_checkpointing_changes_nothing_but_memory(outcomes: Outcomes, plain: Outcome) -> None:
    weights, losses, _ = outcomes(train={"gradient_checkpointing": True})
    assert losses == pytest.approx(plain[1], rel=1e-6)
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, plain[0][name], rtol=1e-3, atol=1e-4)


def test_mixed_precision_keeps_losses_near_and_adapters_float32(outcomes: Outcomes, plain: Outcome) -> None:
    weights, losses, _ = outcomes(train={"mixed_precision": "bf16"})
    assert losses == pytest.approx(plain[1], rel=2e-2)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_snr_gamma_acts_where_it_is_used(outcomes: Outcomes) -> None:
    five, one = (outcomes(train={"loss_weighting": "min_snr", "snr_gamma": g})[1] for g in (5.0, 1.0))
    assert five != one


def test_prior_pictures_are_trained_on_beside_the_others(outcomes: Outcomes, plain: Outcome) -> None:
    prior = {"prior_sources": (str(outcomes.prior),), "prior_loss_weight": 1.0}
    _, losses, events = outcomes(train=prior)
    halves = outcomes(train=prior | {"prior_loss_weight": 0.5})[1]
    extra = losses[0] - plain[1][0]
    assert extra > 0.1
    assert halves[0] - plain[1][0] == pytest.approx(extra / 2, rel=1e-4)
    assert not [e for e in events if isinstance(e, Notice)]


def test_prior_prediction_starts_at_nothing_and_holds_the_base(outcomes: Outcomes, plain: Outcome) -> None:
    _, losses, _ = outcomes(train={"prior_loss_weight": 5.0})
    assert losses[0] == pytest.approx(plain[1][0], rel=1e-6)
    assert losses[1] > plain[1][1]


def test_a_pattern_that_fits_nothing_is_refused(outcomes: Outcomes) -> None:
    with pytest.raises(RecipeError, match="learning_rates"):
        outcomes(train={"learning_rates": {"to_z": 1e-3}})
    with pytest.raises(RecipeError, match="timestep_range"):
        outcomes(train={"timestep_range": (0, 2000)})


def test_8_bit_adam_says_what_to_install(outcomes: Outcomes) -> None:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        with pytest.raises(RecipeError, match="pip install"):
            outcomes(train={"optimizer": "adamw8bit"})


def test_8_bit_adam_trains_and_tells_what_stays_in_32(outcomes: Outcomes) -> None:
    pytest.importorskip("bitsandbytes")
    trained, _, events = outcomes(train={"optimizer": "adamw8bit"})
    assert trained
    assert "not-8-bit" in [event.code for event in events if isinstance(event, Notice)]


def test_settings_that_an_optimizer_leaves_aside_are_told(outcomes: Outcomes) -> None:
    codes = [e.code for e in outcomes(train={"optimizer": "schedulefree"})[2] if isinstance(e, Notice)]
    assert codes == ["setting-idle"]


def test_velocity_bases_train(tmp_path: Path) -> None:
    base = tiny.tiny_base(tmp_path / "base", prediction_type="v_prediction")
    run = encoded_run(tmp_path / "run", recipe_for(base))
    result, _ = train_quietly(run, recipe_for(base))
    assert result.chosen.loss is not None
    assert result.base_loss is not None
    assert result.chosen.loss < result.base_loss


def test_no_option_is_forgotten_here() -> None:
    elsewhere = {
        "max_train_steps", "gradient_checkpointing", "snr_gamma", "prior_sources", "ema_decay",
        "checkpointing_steps", "checkpoints_total_limit", "validation_share", "validation_steps",
        "patience", "average_last", "choose", "preview_steps",
        "compile", "cuda_graph", "deterministic", "timestep_shift",
    }  # fmt: skip
    assert {key for option in TRAIN for key in option} | elsewhere == set(TrainTable.model_fields)
    # Other methods than LoRA are trained in test_methods.py.
    assert {key for option in [*LORA, *WORD_OPTIONS] for key in option} | {"method"} == set(
        LoraTable.model_fields
    )
