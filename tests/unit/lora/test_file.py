"""LoRA files: what is written is what is read, by Veneer and by diffusers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.loras import random_lora
from veneer.errors import AdapterError
from veneer.lora.file import write_diffusers, write_kohya
from veneer.lora.merge import delta
from veneer.lora.reader import read_lora
from veneer.lora.weights import LoraFile, from_state

WRITERS = {"diffusers": write_diffusers, "kohya": write_kohya}
KINDS: list[dict[str, Any]] = [
    {"lora_alpha": 2},
    {"lora_alpha": 7, "target_modules": "attention+ff+conv"},
    {"lora_alpha": 3, "target_modules": "attention+ff+conv", "rank_pattern": {"to_q": 8}, "use_rslora": True},
    {"lora_alpha": 1, "text_encoder": True},
    {"target_modules": "attention+ff+conv", "use_dora": True, "text_encoder": True},
]


def assert_same_update(first: LoraFile, second: LoraFile, tolerance: float = 1e-6) -> None:
    assert first.modules == second.modules
    for module in first.modules:
        assert (delta(first, module) - delta(second, module)).abs().max() < tolerance, module


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
@pytest.mark.parametrize("settings", KINDS)
def test_round_trip(base_folder: Path, tmp_path: Path, layout: str, settings: dict[str, Any]) -> None:
    lora = random_lora(base_folder, **settings)
    path = tmp_path / "x.safetensors"
    WRITERS[layout](path, lora)
    back = read_lora(path)
    assert back.layout == layout
    assert_same_update(lora, back)
    magnitudes = [name for name in lora.state if "magnitude" in name]
    assert bool(magnitudes) == bool(settings.get("use_dora"))
    assert all(torch.equal(back.state[name], lora.state[name]) for name in magnitudes)


def test_same_bytes_in_another_process(base_folder: Path, tmp_path: Path) -> None:
    """One more process for both: it takes seconds to start, and only that it is another one counts."""
    lora = random_lora(base_folder)
    for layout in ("diffusers", "kohya"):
        WRITERS[layout](tmp_path / f"{layout}.safetensors", lora)
    code = (
        "import sys; from pathlib import Path; from veneer.lora.file import *; "
        "from veneer.lora.reader import read_lora; folder = Path(sys.argv[1]); "
        "write_diffusers(folder / 'y/diffusers.safetensors', read_lora(folder / 'diffusers.safetensors')); "
        "write_kohya(folder / 'y/kohya.safetensors', read_lora(folder / 'kohya.safetensors'))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    for layout in ("diffusers", "kohya"):
        again, first = (folder / f"{layout}.safetensors" for folder in (tmp_path / "y", tmp_path))
        assert again.read_bytes() == first.read_bytes()


class TestDiffusers:
    def test_metadata_is_diffusers_own(self, base_folder: Path, tmp_path: Path) -> None:
        from diffusers import StableDiffusionPipeline

        path = tmp_path / "x.safetensors"
        write_diffusers(path, random_lora(base_folder, rank=4, lora_alpha=9, text_encoder=True))
        _, _, metadata = StableDiffusionPipeline.lora_state_dict(
            tmp_path, weight_name=path.name, return_lora_metadata=True
        )
        assert (metadata["unet.r"], metadata["unet.lora_alpha"]) == (4, 9)
        assert metadata["text_encoder.lora_alpha"] == 9

    def test_written_by_diffusers_itself(self, base_folder: Path, tmp_path: Path) -> None:
        from diffusers import StableDiffusionPipeline
        from diffusers.training_utils import _collate_lora_metadata

        from veneer.lora.adapter import inject, load_adapter_state
        from veneer.models.base import load_base

        lora = random_lora(base_folder, lora_alpha=2, use_rslora=False)
        unet = load_base(str(base_folder), parts=("unet",)).unet
        inject(unet, lora.ranks, lora.alphas)
        load_adapter_state(unet, lora.state)
        StableDiffusionPipeline.save_lora_weights(
            tmp_path, unet_lora_layers=dict(lora.state), **_collate_lora_metadata({"unet": unet})
        )
        assert_same_update(lora, read_lora(tmp_path / "pytorch_lora_weights.safetensors"))

    def test_without_metadata_alpha_is_the_rank_and_said_so(self, base_folder: Path, tmp_path: Path) -> None:
        lora = random_lora(base_folder, rank=4, lora_alpha=4)
        path = tmp_path / "x.safetensors"
        save_file({f"unet.{name}": weight for name, weight in lora.state.items()}, path)
        events: list[Any] = []
        assert_same_update(lora, read_lora(path, events.append))
        assert [event.code for event in events] == ["lora-alpha-missing"]

    def test_names_of_older_versions(self, base_folder: Path, tmp_path: Path) -> None:
        lora = random_lora(base_folder, rank=4, lora_alpha=4)
        old = {}
        for name, weight in lora.state.items():
            ending = ".down.weight" if "lora_A" in name else ".up.weight"
            module = name.rpartition(".lora_")[0].replace("to_out.0", "to_out")
            head, _, last = module.rpartition(".")
            old[f"unet.{head}.processor.{last}_lora{ending}"] = weight
        save_file(old, tmp_path / "x.safetensors")
        assert_same_update(lora, read_lora(tmp_path / "x.safetensors"))


class TestKohya:
    def test_names_and_alpha(self, base_folder: Path, tmp_path: Path) -> None:
        path = tmp_path / "city.safetensors"
        write_kohya(
            path, random_lora(base_folder, lora_alpha=2, target_modules="attention+ff", text_encoder=True)
        )
        tensors = load_file(path)
        layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0"
        for name in (f"{layer}_attn1_to_out_0", f"{layer}_ff_net_0_proj", f"{layer}_ff_net_2"):
            assert {f"{name}.lora_down.weight", f"{name}.lora_up.weight", f"{name}.alpha"} <= tensors.keys()
        assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight" in tensors
        assert {float(weight) for name, weight in tensors.items() if name.endswith(".alpha")} == {2.0}

    def test_one_alpha_where_the_true_ones_differ(self, base_folder: Path, tmp_path: Path) -> None:
        lora = random_lora(base_folder, rank=4, rank_pattern={"to_q": 9}, use_rslora=True)
        assert len(set(lora.alphas.values())) == 2
        path = tmp_path / "x.safetensors"
        write_kohya(path, lora)
        alphas = {float(weight) for name, weight in load_file(path).items() if name.endswith(".alpha")}
        assert alphas == {8.0}
        assert_same_update(lora, read_lora(path))

    def test_mixed_alphas_of_other_tools_are_read(self, base_folder: Path, tmp_path: Path) -> None:
        lora = random_lora(base_folder)
        path = tmp_path / "x.safetensors"
        write_kohya(path, lora)
        tensors = load_file(path)
        name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.alpha"
        tensors[name] = torch.tensor(1.0)
        save_file(tensors, path)
        module = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
        assert torch.allclose(delta(read_lora(path), module), delta(lora, module) / 4)

    def test_metadata(self, base_folder: Path, tmp_path: Path) -> None:
        path = tmp_path / "city.safetensors"
        write_kohya(path, random_lora(base_folder, rank=4, lora_alpha=2))
        text = read_lora(path).metadata
        assert (text["ss_network_dim"], text["ss_network_alpha"]) == ("4", "2.0")
        assert text["ss_network_module"] == "networks.lora"
        assert text["ss_base_model_version"] == "sd_v1"
        assert text["modelspec.architecture"] == "stable-diffusion-v1/lora"
        assert text["modelspec.title"] == text["ss_output_name"] == "city"
        raw = path.read_bytes()
        data = raw[8 + int.from_bytes(raw[:8], "little") :]
        assert text["modelspec.hash_sha256"] == "0x" + hashlib.sha256(data).hexdigest()

    def test_lora_te1_is_read_too(self, base_folder: Path, tmp_path: Path) -> None:
        lora = random_lora(base_folder, text_encoder=True)
        path = tmp_path / "x.safetensors"
        write_kohya(path, lora)
        save_file({name.replace("lora_te_", "lora_te1_"): w for name, w in load_file(path).items()}, path)
        assert_same_update(lora, read_lora(path))


class TestTable:
    def test_both_from_what_training_gives(self, base_folder: Path, tmp_path: Path) -> None:
        from veneer.config import LoraTable

        lora = random_lora(base_folder, lora_alpha=3)
        for write in (write_diffusers, write_kohya):
            write(
                tmp_path / "x.safetensors",
                from_state(lora.state, LoraTable(lora_alpha=3), {"veneer.step": "5"}),
            )
            back = read_lora(tmp_path / "x.safetensors")
            assert_same_update(lora, back)
            assert (back.rank, back.alpha, back.metadata["veneer.step"]) == (4, 3, "5")


class TestRefusals:
    def refuse(self, path: Path, message: str) -> None:
        with pytest.raises(AdapterError, match=message):
            read_lora(path)

    def test_pickle(self, tmp_path: Path) -> None:
        (tmp_path / "x.pt").write_bytes(b"\x80\x04.")
        self.refuse(tmp_path / "x.pt", "pickle can run code")

    def test_missing(self, tmp_path: Path) -> None:
        self.refuse(tmp_path / "x.safetensors", "no such LoRA file")

    def test_damaged(self, base_folder: Path, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        write_diffusers(path, random_lora(base_folder))
        path.write_bytes(path.read_bytes()[:-10])
        self.refuse(path, "damaged")

    def test_half_a_layer(self, base_folder: Path, tmp_path: Path) -> None:
        lora = random_lora(base_folder)
        gone = next(name for name in lora.state if "lora_B" in name)
        save_file({f"unet.{n}": w for n, w in lora.state.items() if n != gone}, tmp_path / "x.safetensors")
        self.refuse(tmp_path / "x.safetensors", "is incomplete")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("lora_unet_x.hada_w1_a", "LoHa"),
            ("lora_unet_x.lokr_w1", "LoKr"),
            ("lora_unet_input_blocks_4_1_proj_in.lora_down.weight", "is incomplete"),
            ("lora_te2_text_model_x.lora_down.weight", "holds no LoRA|not known"),
            ("model.diffusion_model.x", "holds no LoRA"),
        ],
    )
    def test_others(self, tmp_path: Path, name: str, message: str) -> None:
        save_file({name: torch.zeros(4, 4)}, tmp_path / "x.safetensors")
        self.refuse(tmp_path / "x.safetensors", message)


def test_strength_and_precision(base_folder: Path) -> None:
    lora = random_lora(base_folder)
    module = lora.modules[0]
    assert torch.allclose(delta(lora.scaled(0.5), module), delta(lora, module) / 2)
    assert {weight.dtype for weight in lora.cast(torch.float16).state.values()} == {torch.float16}
    with pytest.raises(AdapterError, match="strength of a DoRA"):
        random_lora(base_folder, use_dora=True).scaled(0.5)


def test_header_is_plain_json_padded_to_eight(base_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_diffusers(path, random_lora(base_folder))
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert length % 8 == 0
    assert json.loads(raw[8 : 8 + length])["__metadata__"]["format"] == "pt"
