"""OneTrainer's and ai-toolkit's configurations as recipes: each setting has its line, strangers are named."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from veneer.cli import exit_status
from veneer.errors import RecipeError
from veneer.foreign import import_aitoolkit, import_onetrainer
from veneer.imported import Imported, report_of
from veneer.recipe import load_recipe

ONETRAINER: dict[str, Any] = {
    "training_method": "LORA",
    "model_type": "STABLE_DIFFUSION_15",
    "base_model_name": "runwayml/stable-diffusion-v1-5",
    "concept_file_name": "training_concepts/concepts.json",
    "learning_rate": 0.0003,
    "learning_rate_scheduler": "COSINE",
    "learning_rate_warmup_steps": 100.0,
    "epochs": 10,
    "batch_size": 4,
    "gradient_checkpointing": "ON",
    "resolution": "512",
    "train_dtype": "BFLOAT_16",
    "ema": "GPU",
    "ema_decay": 0.995,
    "lora_rank": 16,
    "lora_alpha": 8.0,
    "lora_decompose": True,
    "text_encoder": {"train": False, "learning_rate": None},
    "optimizer": {"optimizer": "CAME", "weight_decay": 0.05},
    "loss_weight_fn": "MIN_SNR_GAMMA",
    "loss_weight_strength": 5.0,
    "masked_training": False,
    "tensorboard": True,
}
AITOOLKIT: dict[str, Any] = {
    "job": "extension",
    "config": {
        "name": "mine",
        "process": [
            {
                "type": "sd_trainer",
                "trigger_word": "p3r5on",
                "network": {"type": "lora", "linear": 16, "linear_alpha": 8},
                "save": {"save_every": 250, "max_step_saves_to_keep": 4, "dtype": "float16"},
                "datasets": [
                    {"folder_path": "pictures", "resolution": [512, 768], "caption_dropout_rate": 0.05}
                ],
                "train": {
                    "batch_size": 1,
                    "steps": 2000,
                    "gradient_accumulation_steps": 2,
                    "train_text_encoder": False,
                    "optimizer": "adamw8bit",
                    "lr": 1e-4,
                    "dtype": "bf16",
                    "min_snr_gamma": 5,
                    "ema_config": {"use_ema": True, "ema_decay": 0.99},
                },
                "model": {"name_or_path": "stabilityai/stable-diffusion-xl-base-1.0", "is_xl": True},
                "sample": {"sample_every": 250, "prompts": ["[trigger] on a beach"], "sample_steps": 20},
            }
        ],
    },
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for number in range(10):
        (tmp_path / f"pictures/{number}.png").touch()
    (tmp_path / "training_concepts").mkdir()
    concepts = [{"name": "a", "path": str(tmp_path / "pictures")}, {"path": "b", "enabled": False}]
    (tmp_path / "training_concepts/concepts.json").write_text(json.dumps(concepts))
    write(tmp_path)
    return tmp_path


def write(place: Path, onetrainer: Any = ONETRAINER, aitoolkit: Any = AITOOLKIT) -> None:
    (place / "one.json").write_text(json.dumps(onetrainer))
    (place / "ai.yaml").write_text(yaml.safe_dump(aitoolkit))


def outcomes(found: Imported) -> dict[str, str]:
    return {line.name: line.outcome for line in found.lines}


def test_onetrainer_s_settings_and_concepts_become_a_recipe(place: Path) -> None:
    found = import_onetrainer(place / "one.json")
    recipe = found.recipe()
    assert recipe.collect.sources == (str(place / "pictures"),)
    assert recipe.train.max_train_steps == 30  # 10 pictures in threes of four, ten times
    assert (recipe.lora.rank, recipe.lora.lora_alpha, recipe.lora.use_dora) == (16, 8, True)
    assert (recipe.train.mixed_precision, recipe.train.gradient_checkpointing) == ("bf16", True)
    assert (recipe.train.loss_weighting, recipe.train.snr_gamma, recipe.train.ema_decay) == (
        "min_snr",
        5,
        0.995,
    )
    told = outcomes(found)
    assert told["lora_rank"] == "taken" and told["train_dtype"] == "changed"
    assert told["optimizer.optimizer"] == told["tensorboard"] == "left out"
    assert "text_encoder.learning_rate" not in told  # it says nothing


def test_ai_toolkit_s_process_becomes_a_recipe(place: Path) -> None:
    found = import_aitoolkit(place / "ai.yaml")
    recipe = found.recipe()
    assert recipe.base.model == "stabilityai/stable-diffusion-xl-base-1.0"
    assert recipe.collect.sources == (str(place / "pictures"),)
    assert (recipe.encode.resolution, recipe.train.caption_dropout) == (768, 0.05)
    assert (recipe.train.optimizer, recipe.train.preview_steps, recipe.caption.trigger) == (
        "adamw8bit",
        250,
        "p3r5on",
    )
    assert (recipe.train.loss_weighting, recipe.train.ema_decay) == ("min_snr", 0.99)
    assert recipe.generate.prompts == ("[trigger] on a beach",)
    assert outcomes(found)["save.dtype"] == "left out"
    assert outcomes(found)["datasets.resolution"] == "changed"


@pytest.mark.parametrize("arch", ["flux2_klein_4b", "flux2_klein", "FLUX.2-klein"])
def test_klein_is_taken_from_both(place: Path, arch: str) -> None:
    klein = "black-forest-labs/FLUX.2-klein-base-4B"
    process = AITOOLKIT["config"]["process"][0] | {"model": {"name_or_path": klein, "arch": arch}}
    onetrainer = ONETRAINER | {"model_type": arch, "base_model_name": klein}
    write(place, onetrainer, {"config": {"process": [process]}})
    for found in (import_aitoolkit(place / "ai.yaml"), import_onetrainer(place / "one.json")):
        assert found.recipe().base.model == klein


def test_every_setting_that_says_something_has_its_line(place: Path) -> None:
    told = outcomes(import_onetrainer(place / "one.json"))
    silent = {"training_method", "model_type", "ema", "concept_file_name", "text_encoder", "optimizer"}
    assert set(ONETRAINER) - silent - {"masked_training"} <= set(told)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "FLUX_DEV_1"}, "flux"),
        ({"training_method": "FINE_TUNE"}, "no LoRA"),
        ({"peft_type": "LOHA"}, "LOHA"),
    ],
)
def test_a_stranger_of_onetrainer_s_is_named(place: Path, change: dict[str, str], words: str) -> None:
    write(place, onetrainer=ONETRAINER | change)
    with pytest.raises(RecipeError, match=words):
        import_onetrainer(place / "one.json")


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("model", {"name_or_path": "x", "is_flux": True}, "flux"),
        ("model", {"name_or_path": "x", "arch": "wan21"}, "wan"),
        ("network", {"type": "lokr"}, "lokr"),
    ],
)
def test_a_stranger_of_ai_toolkit_s_is_named(
    place: Path, part: str, change: dict[str, Any], words: str
) -> None:
    process = AITOOLKIT["config"]["process"][0] | {part: change}
    write(place, aitoolkit={"config": {"process": [process]}})
    with pytest.raises(RecipeError, match=words):
        import_aitoolkit(place / "ai.yaml")


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", "config: 3", "config: {process: []}", "a: &a [*a]", "!!python/x 1"]
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c").write_text(text)
    for read in (import_onetrainer, import_aitoolkit):
        with pytest.raises(RecipeError):
            read(tmp_path / "c")
        with pytest.raises(RecipeError, match="no such file"):
            read(tmp_path / "none")


def test_the_command_writes_a_recipe_that_loads(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert exit_status(["import", "onetrainer", "one.json"]) == 0
    assert load_recipe("one.toml").lora.rank == 16
    assert exit_status(["import", "ai-toolkit", "ai.yaml", "--out", "mine.toml"]) == 0
    assert load_recipe("mine.toml").train.max_train_steps == 2000
    assert "left out" in capsys.readouterr().out


NAMES = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
HOSTILE = {
    "names for names": f"a0: &a0 [x]\n{NAMES}",
    "brackets": "a: " + "[" * 3_000,
    "a word as number": "a: !!int 'x'",
    "no number": "a: !!float ''",
    "no time": "a: !!timestamp x",
    "itself": "a: &a [*a]",
    "data sets": "config: {process: [{datasets: 7}]}",
    "a path": "config: {process: [{datasets: [{folder_path: '~nobody-here/x'}]}]}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_configuration_is_refused_or_read_in_bounds(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with contextlib.suppress(RecipeError):
        found = import_aitoolkit(tmp_path / "x.yaml")
        assert sum(map(len, report_of(found))) < 100_000


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", float("inf")), ("batch_size", "x"), ("batch_size", [3])]
)
def test_numbers_that_are_none_are_left_out(place: Path, name: str, value: Any) -> None:
    write(place, ONETRAINER | {name: value})
    assert outcomes(import_onetrainer(place / "one.json"))["epochs"] == "left out"
