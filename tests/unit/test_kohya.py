"""kohya's folders and settings as recipes: nothing is dropped without a line, and strangers are named."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from veneer.cli import exit_status
from veneer.errors import RecipeError
from veneer.imported import report_of
from veneer.kohya import import_kohya
from veneer.recipe import load_recipe

CONFIG = """
pretrained_model_name_or_path = "runwayml/stable-diffusion-v1-5"
train_data_dir = "img"
reg_data_dir = "reg"
output_dir = "/out"
network_module = "networks.lora"
network_dim = 32
network_alpha = 16
resolution = "512,512"
train_batch_size = 2
max_train_epochs = 10
unet_lr = 1e-4
text_encoder_lr = 5e-5
optimizer_type = "AdamW8bit"
lr_scheduler = "cosine_with_restarts"
mixed_precision = "bf16"
min_snr_gamma = 5
noise_offset = 0.05
flip_aug = true
xformers = true
cache_latents = true
clip_skip = 2
"""


@pytest.fixture
def place(tmp_path: Path, picture_folder: Path) -> Path:
    """As kohya_ss lays it out: twelve pictures ten times, four of the class."""
    files = sorted(picture_folder.iterdir())
    for folder, chosen in (("img/10_sks dog", files), ("reg/1_dog", files[:4])):
        (tmp_path / folder).mkdir(parents=True)
        for path in chosen:
            shutil.copy(path, tmp_path / folder)
    (tmp_path / "img/10_sks dog" / files[0].name).with_suffix(".txt").write_text("sks dog, sitting")
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def test_a_configuration_of_2023_becomes_a_recipe(place: Path) -> None:
    recipe = import_kohya(place / "config.toml").recipe()
    assert recipe.base.model == "runwayml/stable-diffusion-v1-5"
    assert recipe.collect.sources == (str(place / "img/10_sks dog"),)
    assert (recipe.lora.rank, recipe.lora.lora_alpha, recipe.lora.text_encoder) == (32, 16, True)
    assert recipe.train.max_train_steps == 600  # 12 pictures, 10 times, 10 epochs, 2 at once
    assert recipe.train.learning_rate == 1e-4
    assert recipe.train.optimizer == "adamw8bit"
    assert (recipe.train.loss_weighting, recipe.train.snr_gamma) == ("min_snr", 5.0)
    assert recipe.train.prior_sources == (str(place / "reg/1_dog"),)
    assert recipe.train.prior_loss_weight == 1.0
    assert (recipe.encode.resolution, recipe.encode.flip) == (512, 0.5)
    assert recipe.caption.trigger == "sks dog"


def test_every_setting_has_its_line(place: Path) -> None:
    found = import_kohya(place / "config.toml")
    told = {line.name: line for line in found.lines}
    asked = {line.split(" = ")[0] for line in CONFIG.strip().splitlines()}
    assert asked - {"train_data_dir", "reg_data_dir"} <= set(told)
    assert told["clip_skip"].outcome == told["xformers"].outcome == "left out"
    assert told["max_train_epochs"].outcome == "changed"
    assert len(list(report_of(found))) == len(found.lines)


def test_a_folder_alone_is_enough(place: Path) -> None:
    recipe = import_kohya(place).recipe()
    assert recipe.collect.sources == (str(place / "img/10_sks dog"),)
    assert recipe.train.prior_sources == (str(place / "reg/1_dog"),)


def test_what_kohya_does_unasked_is_done_here_too(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[network]\nnetwork_dim = 8\n[training]\nlearning_rate = 2e-4\n")
    recipe = import_kohya(tmp_path / "c.toml").recipe()
    assert recipe.lora.lora_alpha == 1 and recipe.lora.text_encoder
    assert recipe.lora.target_modules == "attention+ff"
    assert recipe.train.lr_scheduler == "constant"
    (tmp_path / "c.toml").write_text("network_train_unet_only = true\n")
    assert not import_kohya(tmp_path / "c.toml").recipe().lora.text_encoder


@pytest.mark.parametrize("module", ["lycoris.kohya", "networks.lora_flux", "networks.lora_sd3"])
def test_strangers_are_named(tmp_path: Path, module: str) -> None:
    (tmp_path / "c.toml").write_text(f'network_module = "{module}"\n')
    with pytest.raises(RecipeError, match="not trained here"):
        import_kohya(tmp_path / "c.toml")


def test_a_flux_module_on_the_klein_and_one_of_sdxl_are_taken(tmp_path: Path) -> None:
    klein = "black-forest-labs/FLUX.2-klein-base-4B"
    base = f'pretrained_model_name_or_path = "{klein}"\nnetwork_train_unet_only = true\nnetwork_dim = 8\n'
    (tmp_path / "c.toml").write_text(f'{base}network_module = "networks.lora_flux"\n')
    found = import_kohya(tmp_path / "c.toml").recipe()
    assert (found.base.model, found.lora.rank) == (klein, 8)
    xl = "stabilityai/stable-diffusion-xl-base-1.0"
    (tmp_path / "c.toml").write_text(f'pretrained_model_name_or_path = "{xl}"\nresolution = "1024,1024"\n')
    recipe = import_kohya(tmp_path / "c.toml").recipe()
    assert (recipe.base.model, recipe.encode.resolution) == (xl, 1024)


def test_the_verb_writes_a_recipe_that_loads_and_never_over_another(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    words = ["import", "kohya", str(place / "config.toml"), "--out", "mine.toml"]
    assert exit_status(words) == 0
    assert "clip_skip" in capsys.readouterr().out
    assert load_recipe("mine.toml").lora.rank == 32
    assert exit_status(words) == 1
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["= 3", "a = [", "\x00"])
def test_what_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(RecipeError, match="no TOML"):
        import_kohya(tmp_path / "c.toml")


@pytest.mark.parametrize(
    "text",
    [
        f"x = {'[' * 3_000}{']' * 3_000}",
        'text_encoder_lr = "x"',
        'min_snr_gamma = "x"',
        f'resolution = "{"9" * 5_000}"',
        'train_data_dir = "img"\nmax_train_epochs = 2\ntrain_batch_size = 0',
        'train_data_dir = "img"\nmax_train_epochs = inf',
        'train_data_dir = "~nobody-here/x"',
        "x = 1\n" * 50_000,
    ],
    ids=range(8),
)
def test_odd_values_are_left_out_or_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "img" / "3_dog").mkdir(parents=True)
    (tmp_path / "img" / "3_dog" / "1.png").write_bytes(b"")
    (tmp_path / "c.toml").write_text(text)
    with contextlib.suppress(RecipeError):
        assert {"left out"} <= {line.outcome for line in import_kohya(tmp_path / "c.toml").lines}


def test_names_of_settings_neither_steer_nor_fill_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'"\\u001b[2J" = 1\n{"z" * 50_000} = "{"y" * 50_000}"\n')
    lines = list(report_of(import_kohya(tmp_path / "c.toml")))
    assert all(line.isprintable() and len(line) < 400 for line in lines)
