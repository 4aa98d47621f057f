"""Every format of a run, read and written back to the byte.

`run-0.1.0/` holds the text files and LoRA files of a whole tiny run that version 0.1.0 made (its pictures,
latents and optimizer state are left out). A format that a later version changes keeps reading these.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from veneer.errors import RunError
from veneer.records.cache import CacheIndex, known_index, read_index
from veneer.records.prompts import Prompt, read_prompts, write_prompts
from veneer.records.run import RunDir

OLD = Path(__file__).with_name("run-0.1.0")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    shutil.copytree(OLD, tmp_path / "run")
    return RunDir(tmp_path / "run")


class TestCacheIndex:
    def test_is_written_back_to_the_byte(self, run: RunDir, tmp_path: Path) -> None:
        index = read_index(run)
        assert (index.native_px, len(index.items), len(index.split("held_out"))) == (32, 14, 4)
        index.write(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == run.cache_index.read_bytes()

    def test_damage_is_named_by_its_place(self, run: RunDir) -> None:
        text = run.cache_index.read_text()
        run.cache_index.write_text(text.replace('"split": "held_out"', '"split": "kept"', 1))
        with pytest.raises(RunError, match=r"index\.json is damaged: items\.\d+\.split: Input should be"):
            read_index(run)

    def test_a_torn_one_is_named(self, run: RunDir) -> None:
        run.cache_index.write_text(run.cache_index.read_text()[:-10])
        with pytest.raises(RunError, match=r"index\.json is damaged.*veneer encode"):
            read_index(run)

    def test_none_is_known_before_encode(self, tmp_path: Path) -> None:
        assert known_index(RunDir(tmp_path)) is None
        with pytest.raises(RunError, match="not encoded yet"):
            read_index(RunDir(tmp_path))

    def test_a_key_of_a_later_version_is_passed_over(self, run: RunDir) -> None:
        text = run.cache_index.read_text()
        run.cache_index.write_text(text.replace('"crops": 1', '"crops": 1, "new": 2'))
        assert isinstance(read_index(run), CacheIndex)


class TestPrompts:
    def test_are_written_back_to_the_byte(self, run: RunDir, tmp_path: Path) -> None:
        prompts = read_prompts(run.drawn.prompts_json)
        assert prompts[1] == Prompt(index=1, prompt="a drawing of", kind="held_out")
        write_prompts(tmp_path / "again", prompts)
        assert (tmp_path / "again").read_bytes() == run.drawn.prompts_json.read_bytes()

    def test_damage_is_named_by_its_place(self, run: RunDir) -> None:
        run.drawn.prompts_json.write_text('[{"index": 0}]')
        with pytest.raises(RunError, match=r"prompts\.json is damaged: 0\.prompt: Field required"):
            read_prompts(run.drawn.prompts_json)

    def test_missing_ones_say_what_draws_them(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"no prompt set.*veneer generate"):
            read_prompts(tmp_path / "prompts.json")
