"""What a changed recipe or data set does to a finished run, key by key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from veneer import attempt, pipeline
from veneer.changes import changed_settings, is_done
from veneer.config import Recipe
from veneer.errors import RecipeError, RunError
from veneer.events import OnEvent
from veneer.recipe import known_keys, resolve
from veneer.records.files import write_json, write_text
from veneer.records.run import RunDir
from veneer.stage import FREE_KEYS, STAGE_NAMES, STAGES, stage_of

DRAWN = ("generate", "compare", "report")
REDONE = {
    "compare.embedder": ("check", "compare", "report"),
    "compare.held_out_prompts": DRAWN,
    "compare.general_prompts": DRAWN,
    "compare.scale": DRAWN,
    "compare.scales": DRAWN,
    "compare.prompt_margin": ("compare", "report"),
    **{f"generate.{key}": DRAWN for key in type(Recipe().generate).model_fields},
    **dict.fromkeys(FREE_KEYS, ()),
}
"""Keys that may change on a finished run, and what is done again for each; every other one is refused."""
OTHERS: dict[str, Any] = {
    "base.vae": "another",
    "lora.method": "lokr",
    "caption.tag_threshold": 0.5,
    "caption.character_threshold": 0.5,
    "caption.tag_rating": True,
    "encode.tag_variants": 2,
    "encode.tag_keep": 2,
    "encode.tag_dropout": 0.5,
    "encode.tag_underscores": "spaces",
    "encode.tag_ratings": "drop",
    "train.timestep_shift": 2.0,
    "train.base_weights": "int8",
    "base.revision": "v2",
    "base.prediction": "v_prediction",
    "collect.limit": 7,
    "encode.resolution": 768,
    "encode.flip": 0.25,
    "lora.target_modules": "attention+ff",
    "lora.embedding_token": "<w>",
    "lora.dropout": 0.5,
    "train.optimizer": "adafactor",
    "train.timestep_range": (0, 500),
    "train.validation_share": 0.5,
    "train.masked_loss": True,
    "train.checkpoints_total_limit": 3,
    "train.patience": 3,
    "train.preview_steps": 3,
    "train.ema_decay": 0.5,
    "generate.resolution": 64,
}
"""Other values than the defaults, where these do not tell how to make one."""
GOLDEN = Path(__file__).parents[1] / "golden"
NEVER = "collect.allow_private_addresses"
"""A key that has one value alone in a recipe."""
KEYS = [key for key in known_keys() if "." in key]


@dataclass(frozen=True)
class Done:
    summary: str


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that were performed; each leaves what depends on all that its row names."""
    names: list[str] = []

    def load_stage(name: str) -> Callable[[RunDir, Recipe, OnEvent], Done]:
        def do(run: RunDir, recipe: Recipe, on_event: OnEvent) -> Done:
            names.append(name)
            leave_files(name, run, recipe)
            return Done(name)

        return do

    monkeypatch.setattr(attempt, "load_stage", load_stage)
    return names


def leave_files(name: str, run: RunDir, recipe: Recipe) -> None:
    made = json.dumps([stage_of(name).settings_in(recipe), dict(stage_of(name).inputs(run))])
    match name:
        case "collect":
            write_text(run.dataset / "images" / "1.png", "a picture")
        case "caption":
            write_text(run.dataset / "metadata.csv", "file_name,caption\nimages/1.png,a dot\n")
        case "encode":  # what the true one writes does not depend on how often pictures are mirrored
            write_json(run.cache / "index.json", [recipe.encode.resolution, recipe.base.model])
        case "export":
            write_text(run.lora_file, run.candidates_json.read_text("utf-8"))
        case "compare":
            write_json(run.metrics_json, {"verdict": "better", "reasons": [], "made": made})
        case _:
            target = stage_of(name).output(run)
            text = json.dumps({"stop_reason": made}) if name == "train" else made
            write_text(target if target.suffix else target / "x", text)


def other_value(key: str) -> Any:
    if key in OTHERS:
        return OTHERS[key]
    table, name = key.split(".")
    value = getattr(getattr(Recipe(), table), name)
    field = type(getattr(Recipe(), table)).model_fields[name]
    choices = [word for word in get_args(field.annotation) if isinstance(word, str) and word != value]
    if choices:
        return choices[0]
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case dict():
            return {"a": "b"} if key == "caption.replacements" else {"a": 1}
        case _:
            return (7,) if key in {"generate.seeds", "compare.scales"} else ("another",)


def changed(*keys: str) -> Recipe:
    tables: dict[str, dict[str, Any]] = {}
    for key in keys:
        table, name = key.split(".")
        tables.setdefault(table, {})[name] = other_value(key)
    return resolve(tables)


def bytes_of(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_a_recipe_may_not_say_is_refused_whatever_the_run() -> None:
    with pytest.raises(RecipeError, match=NEVER):
        changed(NEVER)


@pytest.mark.parametrize("key", [key for key in KEYS if key != NEVER])
def test_a_changed_key_redoes_what_depends_on_it_or_is_refused_by_name(
    key: str, performed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for named in ("another", "autox"):  # what the changed keys name is there
        (tmp_path / named).mkdir()
    pipeline.run(Recipe(), tmp_path / "run")
    before = bytes_of(tmp_path / "run")
    performed.clear()
    if key in REDONE:
        pipeline.run(changed(key), tmp_path / "run")
        assert tuple(performed) == REDONE[key]
        assert RunDir(tmp_path / "run").read_recipe() == changed(key)
        performed.clear()
        pipeline.run(changed(key), tmp_path / "run")
        assert performed == []
        return
    with pytest.raises(RunError, match=rf"done with other settings: .*{key}") as caught:
        pipeline.run(changed(key), tmp_path / "run")
    assert bytes_of(tmp_path / "run") == before
    stage = str(caught.value).split("`")[1]
    pipeline.run(changed(key), tmp_path / "run", redo=[stage])
    assert "train" in performed
    performed.clear()
    pipeline.run(changed(key), tmp_path / "run")
    assert performed == []


def test_every_key_is_of_a_stage_or_free() -> None:
    style = resolve({"train": {"choose": "style"}, "lora": {"embedding_token": "<w>"}})
    used = {
        f"{table}.{key}"
        for stage in STAGES
        for recipe in (Recipe(), style)
        for table, keys in stage.settings_in(recipe).items()
        for key in keys
    }
    assert used.isdisjoint(FREE_KEYS)
    assert used.union(FREE_KEYS) == set(KEYS)


def test_stages_follow_earlier_ones_alone() -> None:
    for place, stage in enumerate(STAGES):
        assert stage.ancestors <= set(STAGE_NAMES[:place])


@pytest.mark.parametrize("stage", ["encode", "train", "export", "report"])
def test_a_single_stage_is_refused_too_before_it_undoes_the_training(
    stage: str, performed: list[str], tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "run")
    pipeline.run(Recipe(), run.root)
    run.write_recipe(changed("base.model"))
    before = bytes_of(run.root)
    performed.clear()
    with pytest.raises(RunError, match=r"`train`.*base\.model.*--redo train"):
        pipeline.run_stage(stage, run)
    assert performed == []
    assert bytes_of(run.root) == before


def test_training_alone_goes_on_with_other_settings_of_its_own(performed: list[str], tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    pipeline.run(Recipe(), run.root)
    run.write_recipe(changed("train.max_train_steps"))
    performed.clear()
    pipeline.run_stage("train", run)
    assert performed == ["train"]


def test_style_that_chooses_binds_the_training_to_its_prompts(performed: list[str], tmp_path: Path) -> None:
    style = {"train": {"choose": "style"}}
    pipeline.run(resolve(style), tmp_path)
    with pytest.raises(RunError, match=r"`train`.*generate\.prompts"):
        pipeline.run(resolve(style | {"generate": {"prompts": ["another"]}}), tmp_path)


def test_an_edited_caption_is_refused_before_anything_is_encoded(
    performed: list[str], tmp_path: Path
) -> None:
    pipeline.run(Recipe(), tmp_path)
    write_text(tmp_path / "dataset/metadata.csv", "file_name,caption\nimages/1.png,a red dot\n")
    before = bytes_of(tmp_path)
    performed.clear()
    with pytest.raises(RunError, match="the data set was changed after `train`"):
        pipeline.run(Recipe(), tmp_path)
    assert performed == []
    assert bytes_of(tmp_path) == before


@pytest.mark.parametrize("folder", ["checkpoints", "stopped"])
@pytest.mark.parametrize("what", ["encode.resolution", "base.model", "a caption"])
def test_an_interrupted_training_is_refused_before_anything_is_encoded(
    what: str, folder: str, performed: list[str], tmp_path: Path
) -> None:
    run, recipe = RunDir(tmp_path), Recipe()
    pipeline.run(recipe, run.root)
    leave_begun(run, folder)
    if what == "a caption":
        write_text(run.dataset / "metadata.csv", "file_name,caption\nimages/1.png,a red dot\n")
    else:
        recipe = changed(what)
    before = bytes_of(run.root)
    performed.clear()
    with pytest.raises(RunError, match=r"`train` of this run was begun on something else.*--redo train"):
        pipeline.run(recipe, run.root)
    assert performed == []
    assert bytes_of(run.root) == before
    pipeline.run(recipe, run.root, redo=["train"])
    assert "train" in performed
    assert not (run.train / folder).exists()


def leave_begun(run: RunDir, folder: str) -> None:
    """What an interrupted training leaves: a checkpoint, and no entry of it or of what follows."""
    record = run.read_record()
    earlier = {name: record.stages[name] for name in STAGE_NAMES[: STAGE_NAMES.index("train")]}
    record.model_copy(update={"stages": earlier}).write(run.run_json)
    run.candidates_json.unlink()
    write_text(run.train / folder / "step-000003" / "state.json", "{}")


def test_an_interrupted_training_goes_on_with_other_settings_of_its_own(
    performed: list[str], tmp_path: Path
) -> None:
    pipeline.run(Recipe(), tmp_path)
    leave_begun(RunDir(tmp_path), "checkpoints")
    performed.clear()
    pipeline.run(changed("train.max_train_steps"), tmp_path)
    assert performed[0] == "train"
    assert (tmp_path / "train/checkpoints/step-000003").is_dir()


def test_a_cache_of_something_else_is_made_again_and_no_data_set_is_called_changed(
    performed: list[str], tmp_path: Path
) -> None:
    pipeline.run(Recipe(), tmp_path)
    before = (tmp_path / "cache/index.json").read_bytes()
    write_json(tmp_path / "cache/index.json", "another")
    performed.clear()
    pipeline.run(Recipe(), tmp_path)
    assert performed == ["encode"]
    assert (tmp_path / "cache/index.json").read_bytes() == before


def test_a_cache_that_was_removed_is_made_again_alone(performed: list[str], tmp_path: Path) -> None:
    pipeline.run(Recipe(), tmp_path)
    (tmp_path / "cache/index.json").unlink()
    performed.clear()
    pipeline.run(Recipe(), tmp_path)
    assert performed == ["encode"]


def test_what_follows_is_done_again_and_a_training_only_where_it_changed(
    performed: list[str], tmp_path: Path
) -> None:
    pipeline.run(Recipe(), tmp_path)
    performed.clear()
    pipeline.run(Recipe(), tmp_path, redo=["encode"])
    assert performed == ["encode", "export", "generate", "compare", "report"]
    performed.clear()
    pipeline.run(changed("encode.flip"), tmp_path, redo=["encode"])
    assert performed == ["encode", "train", "export", "generate", "compare", "report"]


def test_a_training_begun_anew_is_not_taken_for_the_old_one(
    performed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.run(Recipe(), tmp_path)
    real = attempt.load_stage

    def failing(name: str) -> Any:
        if name == "train":
            raise RuntimeError("no power")
        return real(name)

    recipe = changed("train.learning_rate")
    monkeypatch.setattr(attempt, "load_stage", failing)
    with pytest.raises(RuntimeError):
        pipeline.run(recipe, tmp_path, redo=["train"])
    monkeypatch.setattr(attempt, "load_stage", real)
    performed.clear()
    pipeline.run(recipe, tmp_path)  # without --redo: there is nothing to undo any more
    assert performed[0] == "train"


def test_a_key_that_came_later_had_its_default_before() -> None:
    now = {"train": {"seed": 0, "ema_decay": 0.0}}
    assert changed_settings({"train": {"seed": 0}}, now) == []
    now["train"]["ema_decay"] = 0.5
    assert changed_settings({"train": {"seed": 0}}, now) == ["train.ema_decay: 0.0 -> 0.5"]


def test_a_key_that_is_gone_is_no_change() -> None:
    assert changed_settings({"train": {"seed": 0, "gone": 1}}, {"train": {"seed": 0}}) == []


def test_a_run_of_0_1_0_is_skipped_but_for_check(performed: list[str], tmp_path: Path) -> None:
    recipe = resolve({"caption": {"model": "Salesforce/blip-image-captioning-base"}})  # 0.1.0's own
    pipeline.run(recipe, tmp_path)
    run = RunDir(tmp_path)
    record = json.loads(run.run_json.read_text("utf-8"))
    stored = json.loads((GOLDEN / "run-0.1.0.json").read_text("utf-8"))["stages"]
    for name, entry in record["stages"].items():
        entry["identity"]["settings"] = stored[name]["identity"]["settings"]
    write_json(run.run_json, record)
    assert [name for name in STAGE_NAMES if not is_done(run, recipe, name)] == ["check"]
    performed.clear()
    pipeline.run(recipe, tmp_path)
    assert performed == ["check"]
