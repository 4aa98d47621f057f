"""``veneer run --cluster`` refuses what is no cluster before any stage, and does the rest with one."""

import json
import sys
from pathlib import Path

import pytest

from helpers.driving import tiny_recipe
from helpers.tiny import tiny_pictures
from veneer.cli import exit_status


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1"])
def test_an_address_without_a_cluster_ends_it_before_a_byte_is_written(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    out = tmp_path / "run"
    assert exit_status(["run", "pocket-8bit", "--out", str(out), "--cluster", address, "--quiet"]) == 1
    told = capsys.readouterr().err
    assert (address in told and "--cluster local" in told) or "HOST:PORT" in told
    assert not out.exists()


def test_without_ray_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert exit_status(["run", "pocket-8bit", "--out", str(tmp_path / "run"), "--cluster", "local"]) == 1
    assert "pip install 'veneer[cluster]'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_whole_run_with_a_local_cluster(
    tmp_path: Path, base_folder: Path, clip_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    (tmp_path / "tiny.toml").write_text(tiny_recipe(base_folder, clip_folder, steps=2))
    pictures = tiny_pictures(tmp_path / "pictures", 8)
    sources = f"collect.sources={pictures}"
    words = ["run", str(tmp_path / "tiny.toml"), "--set", sources, "--out", str(tmp_path / "run")]
    command = [*words, "--cluster", "local", "--json"]
    assert exit_status([*command, "--quiet"]) in {0, 4}
    done = json.loads(capsys.readouterr().out)
    assert len(done["stages"]) == 9
    assert len(list((tmp_path / "run/cache/latents").iterdir())) == 8
