"""A sweep on the tiny base: trials share work, some fail, the best one is judged apart."""

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.tiny import tiny_pictures
from veneer import pipeline, sweep
from veneer.config import Recipe
from veneer.errors import RecipeError, RunError
from veneer.events import Event, Notice, OnEvent, StageFinished, StageStarted, ValidationEvent
from veneer.recipe import load_recipe, resolve
from veneer.records.run import RunDir
from veneer.trials.probing import find_settings
from veneer.trials.running import SweepResult

OVER = ["lora.target_modules=attention,['nothing']", "lora.rank=2,4"]
"""No layer is called the second name."""
SHOWN = ("dog", "city", "house", "red circle", "blue square", "green circle", "cup", "tree")


@pytest.fixture(scope="module")
def recipe(base_folder: Path, clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    pictures = tiny_pictures(tmp_path_factory.mktemp("sources") / "pictures", 14)
    for number, path in enumerate(sorted(pictures.iterdir())):
        path.rename(path.with_stem(f"{SHOWN[number % 8]} {'with a cat' if number > 7 else ''}".strip()))
    return resolve(
        {
            "base": {"model": str(base_folder)},
            "collect": {"sources": [str(pictures)]},
            "caption": {"model": "none", "prefix": "a drawing of"},
            "encode": {"resolution": 32},
            "train": {
                "max_train_steps": 2,
                "learning_rate": 1e-2,
                "checkpointing_steps": 2,
                "validation_steps": 1,
            },
            "generate": {
                "prompts": ["a red dot", "a dog"],
                "seeds": [0, 1],
                "num_inference_steps": 1,
                "guidance_scale": 1.0,
                "resolution": 32,
            },
            "compare": {"embedder": str(clip_folder), "held_out_prompts": 2, "general_prompts": ["a cup"]},
        }
    )


class Killed(BaseException):
    """A process that ends here and now."""


def kill_in(trial: str) -> OnEvent:
    """Ends the command at the first held-out loss of a trial."""
    begun = []

    def tell(event: Event) -> None:
        begun.extend([event.stage] if isinstance(event, StageStarted) else [])
        if isinstance(event, ValidationEvent) and begun[-1] == f"{trial} train":
            raise Killed

    return tell


@pytest.fixture(scope="module")
def swept(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepResult, list[Event]]:
    """Killed in the second trial, and begun again."""
    events: list[Any] = []
    folder = tmp_path_factory.mktemp("sweeps") / "first"
    with pytest.raises(Killed):
        sweep(recipe, OVER, folder, on_event=kill_in("002"))
    first = (folder / "trials/001/lora/pytorch_lora_weights.safetensors").stat()
    result = sweep(recipe, OVER, folder, on_event=events.append)
    assert (folder / "trials/001/lora/pytorch_lora_weights.safetensors").stat() == first
    return result, events


def test_the_same_command_goes_on_with_the_trial_that_was_killed(
    swept: tuple[SweepResult, list[Event]],
) -> None:
    begun = [event.stage for event in swept[1] if isinstance(event, StageStarted)]
    assert begun[:2] == ["sweep", "002 train"]  # the first one is done, and so is the second one's data


def test_a_trial_that_fails_leaves_the_others_be(swept: tuple[SweepResult, list[Event]]) -> None:
    result, events = swept
    states = {one.trial.name: one.trial.state for one in result.standings}
    assert states == {"001": "done", "002": "done", "003": "failed", "004": "failed"}
    told = [event.message for event in events if isinstance(event, Notice) and event.code == "trial-failed"]
    assert len(told) == 2 and "the others go on" in told[0]
    assert result.standings[-1].trial.why in told[1]


def test_trials_are_runs_that_hold_one_data_set_and_one_cache(swept: tuple[SweepResult, list[Event]]) -> None:
    root = swept[0].root
    first, second = (RunDir(root / "trials" / name) for name in ("001", "002"))
    heavy = [*(first.dataset / "images").iterdir(), *(first.cache / "latents").iterdir()]
    assert len(heavy) == 28
    for path in heavy:
        assert Path(path).samefile(second.root / path.relative_to(first.root))
    assert not Path(first.dataset / "metadata.csv").samefile(second.dataset / "metadata.csv")
    before, after = first.read_record().stages, second.read_record().stages
    assert {name: before[name] for name in ("collect", "check", "caption", "encode")} == {
        name: after[name] for name in ("collect", "check", "caption", "encode")
    }
    assert before["train"] != after["train"]


def test_only_the_best_is_judged_and_on_what_no_trial_was_looked_at_with(
    swept: tuple[SweepResult, list[Event]],
) -> None:
    result, _ = swept
    judged = sorted(path.parts[-3] for path in result.root.glob("trials/*/report/metrics.json"))
    assert judged == [result.best.trial.name] and result.confirmation.looks == 1
    best = RunDir(result.root / "trials" / judged[0])
    metrics = json.loads(best.metrics_json.read_text())
    chosen = {path.stem.partition("-")[2] for path in best.strength_samples.rglob("*.png")}
    judging = {path.stem.partition("-")[2] for path in best.drawn.of("tuned").glob("*.png")}
    assert judging and chosen and not judging & chosen  # seeds
    looked_at = {line["prompt"] for line in prompts_that_chose(best)}
    assert not looked_at & set(metrics["prompts"])


def prompts_that_chose(run: RunDir) -> list[dict[str, str]]:
    from veneer.records.cache import read_index
    from veneer.stages.generate import chooser_of

    return [{"prompt": prompt} for prompt, _ in chooser_of(read_index(run), run.read_recipe()).jobs]


def test_the_page_has_table_pictures_and_a_recipe_that_can_be_run(
    swept: tuple[SweepResult, list[Event]],
) -> None:
    result, _ = swept
    page = result.report.read_text("utf-8")
    assert page.count("<svg") == 2 and 'src="data:image/png' in page and "http" not in page
    assert page.count("<tr") == 5 and "failed: " in page
    table = json.loads((result.root / "report" / "table.json").read_text())
    assert [row["name"] for row in table["trials"]] == [one.trial.name for one in result.standings]
    copied = load_recipe(str(result.recipe))
    assert str(copied.lora.rank) == result.best.trial.settings["lora.rank"]
    assert copied.compare.scale == result.best.scale


def test_the_same_command_again_does_nothing_but_the_failed_ones(
    recipe: Recipe, swept: tuple[SweepResult, list[Event]]
) -> None:
    root = swept[0].root
    loras = {path: path.stat().st_mtime_ns for path in root.glob("trials/*/lora/*.safetensors")}
    drawn = {path: path.stat().st_mtime_ns for path in root.glob("trials/*/samples/**/*.png")}
    again = sweep(recipe, OVER, root)
    assert {path: path.stat().st_mtime_ns for path in loras} == loras
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn
    assert [one.words for one in again.standings] == [one.words for one in swept[0].standings]


def test_a_sweep_of_another_recipe_is_refused_with_the_difference(
    recipe: Recipe, swept: tuple[SweepResult, list[Event]]
) -> None:
    other = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": 1})})
    with pytest.raises(RunError, match=r"train\.seed: 0 -> 1"):
        sweep(other, OVER, swept[0].root)


def test_a_value_that_does_not_fit_is_told_before_anything_is_written(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"lora\.rank"):
        sweep(recipe, ["lora.rank=4,-1"], tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_a_learnt_word_cannot_be_ranked(recipe: Recipe, tmp_path: Path) -> None:
    word = recipe.model_copy(update={"lora": recipe.lora.model_copy(update={"embedding_token": "<s>"})})
    with pytest.raises(RecipeError, match="learn a word"):
        sweep(word, ["lora.rank=4,8"], tmp_path / "sweep")


def test_auto_probes_within_its_minutes_and_its_training_is_not_done_again(
    recipe: Recipe, tmp_path: Path
) -> None:
    longer = recipe.model_copy(update={"train": recipe.train.model_copy(update={"max_train_steps": 4})})
    events: list[Any] = []
    found = find_settings(longer, RunDir(tmp_path / "run"), 1e-6, on_event=events.append)
    assert len(found.tried) == 1 and found.recipe.train.max_train_steps == 1
    told = [event.code for event in events if isinstance(event, Notice)]
    assert "auto-out-of-time" in told and told[-1] == "auto" and found.page.is_file()
    pipeline.run(found.recipe, tmp_path / "run", until="train", on_event=events.append)
    ends = {event.stage: event.skipped for event in events if isinstance(event, StageFinished)}
    assert ends == {"collect": True, "check": True, "caption": True, "encode": True, "train": True}
