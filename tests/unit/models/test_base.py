"""The base model: what is loaded, in which precision, and that nothing of it can learn."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import ldm, tiny
from veneer.errors import BaseModelError
from veneer.models.base import (
    assemble,
    build_scheduler,
    encode_pixels,
    load_base,
    token_count,
)
from veneer.models.families import recognise
from veneer.models.families.sd import SD1, encode_tokens
from veneer.models.families.unets import tokenize_prompt


@pytest.fixture(scope="module")
def checkpoint(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    shutil.copytree(base_folder / "tokenizer", folder / "tokenizer")
    return ldm.write_checkpoint(base_folder, folder / "model.safetensors")


@pytest.fixture
def _tiny_settings(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the tiny base in place of those of SD 1.x, which a checkpoint is read by."""
    layout = dataclasses.replace(SD1.single_file, settings=base_folder)
    monkeypatch.setattr(recognise, "FAMILIES", (dataclasses.replace(SD1, single_file=layout),))


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in module.state_dict().items() if not name.endswith("position_ids")}


def assert_same(first: torch.nn.Module, second: torch.nn.Module) -> None:
    assert state(first).keys() == state(second).keys()
    for name, tensor in state(first).items():
        assert torch.equal(tensor, state(second)[name]), name


class TestLoadBase:
    def test_folder(self, base_folder: Path) -> None:
        base = load_base(str(base_folder))
        assert (base.native_px, base.vae_factor, base.family.name) == (32, 2, "sd1")
        assert base.prediction_type == "epsilon"
        for module in (base.unet, base.vae, base.text_encoder):
            assert not module.training
            assert not any(parameter.requires_grad for parameter in module.parameters())

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_every_weight_is_in_the_wanted_precision(self, base_folder: Path, dtype: torch.dtype) -> None:
        base = load_base(str(base_folder), dtype=dtype)
        for module in (base.unet, base.vae, base.text_encoder):
            assert {parameter.dtype for parameter in module.parameters()} == {dtype}

    def test_only_the_wanted_parts(self, base_folder: Path) -> None:
        base = load_base(str(base_folder), parts=("tokenizer", "scheduler"))
        assert base.unet is None and base.vae is None and base.text_encoder is None
        assert (base.native_px, len(base.scheduler.alphas_cumprod)) == (32, 1000)

    def test_v_prediction(self, tmp_path: Path) -> None:
        base = load_base(str(tiny.tiny_base(tmp_path, prediction_type="v_prediction")), parts=("scheduler",))
        assert base.prediction_type == "v_prediction"
        assert base.scheduler.config.prediction_type == "v_prediction"

    def test_half_precision_variant(self, base_folder: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(base_folder, tmp_path / "base")
        weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
        weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
        assert_same(load_base(str(folder)).unet, load_base(str(base_folder)).unet)

    def test_missing_weights_are_no_warning(self, base_folder: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        folder = shutil.copytree(base_folder, tmp_path / "base")
        weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
        tensors = load_file(weights)
        del tensors["conv_in.weight"]
        save_file(tensors, weights, metadata={"format": "pt"})
        with pytest.raises(BaseModelError, match=r"unet cannot be loaded.*conv_in\.weight"):
            load_base(str(folder))

    def test_cut_off_weights(self, base_folder: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(base_folder, tmp_path / "base")
        weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        with pytest.raises(BaseModelError, match="vae cannot be loaded"):
            load_base(str(folder))

    def test_vae_in_place_of_its_own(self, base_folder: Path, tmp_path: Path) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(7)
            other = tiny.tiny_vae()
        other.save_pretrained(tmp_path / "vae-alone")
        base = load_base(str(base_folder), vae=str(tmp_path / "vae-alone"))
        assert_same(base.vae, other)
        assert base.fingerprint != load_base(str(base_folder)).fingerprint
        assert base.fingerprint.startswith(load_base(str(base_folder)).fingerprint)

    def test_vae_of_another_kind(self, base_folder: Path, tmp_path: Path) -> None:
        from diffusers import AutoencoderKL

        AutoencoderKL(block_out_channels=(8,), latent_channels=16, norm_num_groups=4).save_pretrained(
            tmp_path
        )
        with pytest.raises(BaseModelError, match="16 latent channels, the base takes 4"):
            load_base(str(base_folder), vae=str(tmp_path))

    def test_fingerprint_follows_the_weights_not_the_place(self, base_folder: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(base_folder, tmp_path / "elsewhere")
        first = load_base(str(base_folder), parts=()).fingerprint
        assert load_base(str(folder), parts=("unet",)).fingerprint == first
        weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        assert load_base(str(folder), parts=()).fingerprint != first


@pytest.mark.usefixtures("_tiny_settings")
class TestCheckpoint:
    def test_same_as_the_folder(self, base_folder: Path, checkpoint: Path) -> None:
        folder, single = load_base(str(base_folder)), load_base(str(checkpoint))
        for part in ("unet", "vae", "text_encoder"):
            assert_same(getattr(folder, part), getattr(single, part))
        prompt = ["a red city"]
        ids = tokenize_prompt(single.tokenizer, prompt)
        assert torch.equal(ids, tokenize_prompt(folder.tokenizer, prompt))
        assert torch.equal(encode_tokens(single.text_encoder, ids), encode_tokens(folder.text_encoder, ids))

    def test_precision(self, checkpoint: Path) -> None:
        base = load_base(str(checkpoint), dtype=torch.bfloat16)
        for module in (base.unet, base.vae, base.text_encoder):
            assert {parameter.dtype for parameter in module.parameters()} == {torch.bfloat16}
            assert not any(parameter.requires_grad for parameter in module.parameters())

    def test_lone_vae_file(self, base_folder: Path, checkpoint: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        prefix = "first_stage_model."
        tensors = {
            k.removeprefix(prefix): v for k, v in load_file(checkpoint).items() if k.startswith(prefix)
        }
        save_file(tensors, tmp_path / "vae.safetensors")
        base = load_base(str(base_folder), vae=str(tmp_path / "vae.safetensors"))
        assert_same(base.vae, load_base(str(base_folder)).vae)

    def test_without_text_encoder(self, checkpoint: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = {k: v for k, v in load_file(checkpoint).items() if not k.startswith("cond_stage")}
        save_file(tensors, tmp_path / "m.safetensors")
        with pytest.raises(BaseModelError, match="without its text encoder"):
            load_base(str(tmp_path / "m.safetensors"))


class TestPipeline:
    def test_draws_what_plain_diffusers_draws(self, base_folder: Path) -> None:
        from diffusers import DDIMScheduler, StableDiffusionPipeline

        plain = StableDiffusionPipeline.from_pretrained(base_folder)
        plain.scheduler = DDIMScheduler.from_config(plain.scheduler.config)
        plain.set_progress_bar_config(disable=True)
        ours = assemble(load_base(str(base_folder)), "ddim")
        pictures = [
            pipe("a red city", height=32, width=32, num_inference_steps=3, output_type="np",
                 generator=torch.Generator().manual_seed(0)).images[0]
            for pipe in (plain, ours)
        ]  # fmt: skip
        assert (pictures[0] == pictures[1]).all()

    @pytest.mark.parametrize("name", ["ddim", "dpmsolver", "euler", "pndm", "ddpm", "own"])
    def test_samplers(self, base_folder: Path, name: str) -> None:
        base = load_base(str(base_folder), parts=())
        assert build_scheduler(name, base.settings["scheduler"], base.family).config.beta_start == 0.00085

    def test_unknown_sampler(self) -> None:
        with pytest.raises(BaseModelError, match=r"no sampler of Stable Diffusion 1\.x"):
            build_scheduler("heun3", {}, SD1)


class TestEncoding:
    def test_prompts_are_cut_and_counted(self, base_folder: Path) -> None:
        base = load_base(str(base_folder), parts=("tokenizer", "text_encoder"))
        long = "x" * 200
        assert tokenize_prompt(base.tokenizer, ["a", long]).shape == (2, 77)
        assert token_count(base.tokenizer, long) == 202
        assert token_count(base.tokenizer, "a") == 3
        assert encode_tokens(base.text_encoder, tokenize_prompt(base.tokenizer, ["a", "b"])).shape == (
            2,
            77,
            16,
        )

    def test_pixels_become_scaled_latents(self, base_folder: Path) -> None:
        base = load_base(str(base_folder), parts=("vae",))
        pixels = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
        mean, std = encode_pixels(base.vae, pixels)
        posterior = base.vae.encode(pixels).latent_dist
        assert mean.shape == std.shape == (2, 4, 8, 12)
        assert torch.equal(mean, posterior.mean * 0.18215)
        assert torch.equal(std, posterior.std * 0.18215)


WEIGHTS = {
    "unet": "mid_block.attentions.0.proj_in.weight",
    "vae": "encoder.conv_in.weight",
    "text_encoder": "encoder.layers.0.mlp.fc1.weight",
}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", WEIGHTS)
def test_a_weight_that_is_no_number_is_named(
    base_folder: Path, tmp_path: Path, part: str, value: float
) -> None:
    folder = Path(shutil.copytree(base_folder, tmp_path / "base"))
    file = next((folder / part).glob("*.safetensors"))
    tensors = load_file(file)
    name = next(one for one in tensors if one.endswith(WEIGHTS[part]))
    tensors[name].view(-1)[3] = value
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(BaseModelError, match=f"the base itself gives no numbers: {part} .*is not finite"):
        load_base(str(folder))
    load_base(str(folder), parts=[other for other in WEIGHTS if other != part])


def test_large_weights_are_numbers(base_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base_folder, tmp_path / "base"))
    file = next((folder / "unet").glob("*.safetensors"))
    tensors = load_file(file)
    tensors["conv_in.weight"][:] = 3e38
    save_file(tensors, file, {"format": "pt"})
    load_base(str(folder), parts=("unet",))
    with pytest.raises(BaseModelError, match=r"unet conv_in.weight is not finite in float16"):
        load_base(str(folder), parts=("unet",), dtype=torch.float16)


@pytest.mark.parametrize("variant", ["bf16", "fp16", "fp32"])
def test_weights_of_one_variant_alone_are_taken(base_folder: Path, tmp_path: Path, variant: str) -> None:
    folder = Path(shutil.copytree(base_folder, tmp_path / "base"))
    for file in list(folder.rglob("*.safetensors")):
        file.rename(file.with_name(file.name.replace(".safetensors", f".{variant}.safetensors")))
    plain = load_base(str(base_folder))
    found = load_base(str(folder))
    for part in WEIGHTS:
        own, other = state(getattr(plain, part)), state(getattr(found, part))
        assert all(torch.equal(own[name], other[name]) for name in own)


def test_a_folder_saved_by_the_pipeline_that_turns_pictures_into_others_is_the_same(
    base_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(base_folder, tmp_path / "base"))
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"))
    assert load_base(str(folder), parts=("scheduler",)).family is SD1


@pytest.mark.parametrize(
    ("content", "what"), [(b"<html>", "a web page"), (b"version https://git-lfs", "LFS pointer")]
)
def test_what_stands_under_the_name_of_a_checkpoint_is_said(
    tmp_path: Path, content: bytes, what: str
) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(BaseModelError, match=what):
        load_base(str(tmp_path / "x.safetensors"))
