"""Every format of a run, read and written back to the byte.

`run-0.1.0/` holds the text files and LoRA files of a whole tiny run that version 0.1.0 made (its pictures,
latents and optimizer state are left out). A format that a later version changes keeps reading these.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from veneer.captions.records import read_records, write_records
from veneer.errors import RunError
from veneer.lora.checkpoint import read_adapter
from veneer.lora.file import write_diffusers, write_kohya
from veneer.records.cache import CacheIndex, known_index, read_index
from veneer.records.candidates import Candidates, CandidatesFile, known_candidates
from veneer.records.check import known_check
from veneer.records.dataset import Dataset
from veneer.records.files import write_json
from veneer.records.metrics import Metrics
from veneer.records.prompts import Prompt, read_prompts, write_prompts
from veneer.records.provenance import add_provenance, read_provenance
from veneer.records.run import ADAPTER_FILE, RunDir
from veneer.records.trainlog import read_steps

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


class TestMetricsAndCheck:
    def test_metrics_are_read_in_the_words_of_now_and_differ_in_nothing_else(
        self, run: RunDir, tmp_path: Path
    ) -> None:
        old = run.metrics_json.read_text("utf-8")
        Metrics.of(run).write(tmp_path / "again")
        assert (tmp_path / "again").read_text("utf-8") == old.replace('"no different"', '"not shown"')

    def test_a_check_is_written_back_to_the_byte(self, run: RunDir, tmp_path: Path) -> None:
        found = known_check(Dataset(run.dataset))
        assert found is not None
        found.write(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == Dataset(run.dataset).check_json.read_bytes()


class TestProvenance:
    def test_lines_are_written_back_to_the_byte(self, run: RunDir, tmp_path: Path) -> None:
        known = list(read_provenance(Dataset(run.dataset)))
        assert (len(known), known[0].told("name"), known[0].size) == (14, "picture-000.png", (64, 64))
        for one in known:
            add_provenance(Dataset(tmp_path), one)
        again, old = Dataset(tmp_path).provenance_jsonl, Dataset(run.dataset).provenance_jsonl
        assert again.read_bytes() == old.read_bytes()


class TestCaptions:
    def test_the_list_of_pictures_is_written_back_to_the_byte(self, run: RunDir) -> None:
        dataset = Dataset(run.dataset)
        old = dataset.metadata_csv.read_bytes()
        items = dataset.items(ignore_missing=True) or dataset.read_metadata()
        assert (len(items), items[0].caption) == (14, "a drawing of")
        dataset.metadata_csv.unlink()
        dataset.write_metadata(items)
        assert dataset.metadata_csv.read_bytes() == old

    def test_who_wrote_each_is_written_back_to_the_byte(self, run: RunDir) -> None:
        dataset = Dataset(run.dataset)
        old = dataset.captions_jsonl.read_bytes()
        records = read_records(dataset)
        assert (len(records), {one.by for one in records.values()}) == (14, {"name", "person"})
        write_records(dataset, records.values())
        assert dataset.captions_jsonl.read_bytes() == old


class TestLora:
    def test_both_layouts_are_written_back_to_the_byte(self, run: RunDir, tmp_path: Path) -> None:
        for old, write in ((run.lora_file, write_diffusers), (run.kohya_file, write_kohya)):
            write(tmp_path / old.name, read_adapter(old))
            assert (tmp_path / old.name).read_bytes() == old.read_bytes()

    def test_both_layouts_hold_what_the_checkpoint_holds(self, run: RunDir) -> None:
        chosen = read_adapter(run.checkpoint(6) / ADAPTER_FILE).state
        for path in (run.lora_file, run.kohya_file):
            found = read_adapter(path).state
            assert found.keys() == chosen.keys()
            assert all(torch.equal(found[name], chosen[name]) for name in chosen)


class TestSamples:
    def test_what_they_were_drawn_with_is_written_back_to_the_byte(self, run: RunDir, tmp_path: Path) -> None:
        old = run.drawn.settings_json.read_bytes()
        write_json(tmp_path / "again", json.loads(old))
        assert (tmp_path / "again").read_bytes() == old


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


class TestCandidates:
    def test_are_written_back_to_the_byte(self, run: RunDir, tmp_path: Path) -> None:
        known = known_candidates(run)
        assert known.chosen is not None
        assert (known.chosen.step, known.chosen.kind, len(known.candidates)) == (6, "step", 2)
        known.write(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == run.candidates_json.read_bytes()

    def test_what_a_checkpoint_remembers_gives_the_same_file(self, run: RunDir, tmp_path: Path) -> None:
        """``ledger`` in state.json is what training goes on from, and what it writes candidates.json from."""
        state = json.loads((run.checkpoint(6) / "state.json").read_text())["state"]["ledger"]
        candidates = Candidates.model_validate(state)
        assert json.dumps(candidates.model_dump(), indent=1) == json.dumps(state, indent=1)
        candidates.forget_missing(OLD)
        at_the_end = known_candidates(run)
        assert candidates.finished("validation", at_the_end.pictures).base == at_the_end.base

    def test_an_older_one_without_pictures_and_strata_is_read(self, run: RunDir) -> None:
        one = {"step": 2, "kind": "ema", "loss": 0.5}
        run.candidates_json.write_text(json.dumps({"chosen": one, "base_loss": 0.6, "candidates": [one]}))
        known = known_candidates(run)
        assert known.chosen is not None
        assert (known.chosen.kind, known.chosen.reason, known.chosen.path, known.base) == (
            "ema",
            "",
            None,
            None,
        )

    def test_losses_that_are_no_numbers_come_back(self, run: RunDir, tmp_path: Path) -> None:
        run.candidates_json.write_text('{"candidates": [{"step": 1, "kind": "step", "loss": NaN}]}')
        known = known_candidates(run)
        known.write(tmp_path / "again")
        assert '"loss": NaN' in (tmp_path / "again").read_text()

    def test_damage_is_named_and_nothing_is_known_before_the_end(self, run: RunDir) -> None:
        run.candidates_json.write_text("{")
        with pytest.raises(RunError, match=r"candidates\.json is damaged.*Train again"):
            known_candidates(run)
        run.candidates_json.unlink()
        assert known_candidates(run) == CandidatesFile()


class TestTrainLog:
    def test_lines_are_written_back_to_the_byte(self, run: RunDir) -> None:
        steps = read_steps(run.log_jsonl)
        assert [one.step for one in steps] == list(range(1, 7))
        again = "".join(json.dumps(one.model_dump()) + "\n" for one in steps)
        assert again.encode() == run.log_jsonl.read_bytes()

    def test_a_torn_line_is_left_out_and_the_last_of_a_step_counts(self, run: RunDir) -> None:
        with run.log_jsonl.open("a") as file:
            file.write('{"step": 2, "loss": 0.5, "lr": null}\n{"step": 7, "lo')
        steps = read_steps(run.log_jsonl)
        assert [one.step for one in steps] == list(range(1, 7))
        assert (steps[1].loss, steps[1].lr) == (0.5, None)


class TestRunRecord:
    def test_is_written_back_to_the_byte(self, run: RunDir, tmp_path: Path) -> None:
        record = run.read_record()
        assert (len(record.stages), record.versions["veneer"]) == (9, "0.1.0")
        assert record.stages["train"].identity.settings["train"]["learning_rate"] == 0.01
        record.write(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == run.run_json.read_bytes()

    def test_what_an_older_one_does_not_say_stays_unsaid(self, run: RunDir, tmp_path: Path) -> None:
        stage = {"identity": {"settings": {}, "inputs": {}}, "summary": "x", "seconds": 1.5}
        stage |= {"peak_memory_gib": 1.0}
        run.run_json.write_text(json.dumps({"stages": {"check": stage}}))
        record = run.read_record()
        assert record.stages["check"].peak_device_memory_gib == 0
        record.write(tmp_path / "again")
        assert json.loads((tmp_path / "again").read_text()) == {"stages": {"check": stage}}

    def test_nothing_is_known_of_a_new_run(self, tmp_path: Path) -> None:
        assert not RunDir(tmp_path).read_record().stages
