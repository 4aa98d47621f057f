from pathlib import Path
from typing import Any

import pytest
import tomli_w

from veneer.errors import RecipeError
from veneer.recipe import bundled_names, differences, known_keys, load_recipe, recipe_text, resolve, to_toml


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_recipes_resolve_and_survive_writing(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    path = tmp_path / "copy.toml"
    path.write_text(to_toml(recipe))
    assert load_recipe(str(path)) == recipe


def test_the_reports_recipe_is_kept_to_the_letter() -> None:
    recipe = load_recipe("sd15-8bit")
    assert recipe.base.model == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert recipe.base.vae == "stabilityai/sd-vae-ft-mse"
    assert recipe.caption.model == "Salesforce/blip-image-captioning-large"
    assert (recipe.encode.resolution, recipe.encode.flip) == (1024, 0.5)
    assert (recipe.lora.rank, recipe.lora.lora_alpha, recipe.lora.init) == (4, 4.0, "gaussian")
    assert set(recipe.lora.target_modules) == {"to_k", "to_q", "to_v", "to_out.0"}
    train = recipe.train
    assert (train.optimizer, train.learning_rate, train.adam_weight_decay) == ("adamw", 1e-4, 1e-2)
    assert (train.lr_scheduler, train.train_batch_size) == ("cosine", 2)
    assert (train.max_train_steps, train.checkpointing_steps) == (10_000, 5_000)


def test_overrides_come_last_and_read_toml_values() -> None:
    recipe = load_recipe(
        "pocket-8bit",
        [
            "train.max_train_steps=7",
            "base.model=other/base",
            'collect.sources=["a", "b"]',
            "train.patience=none",
        ],
    )
    assert recipe.train.max_train_steps == 7
    assert recipe.base.model == "other/base"
    assert recipe.collect.sources == ("a", "b")
    assert recipe.train.patience is None


def test_none_is_a_word_where_a_key_has_it_as_a_choice() -> None:
    settings = ["lora.target_modules=none", "lora.text_encoder=true", "caption.model=none", "base.vae=none"]
    recipe = load_recipe("pocket-8bit", settings)
    assert (recipe.lora.target_modules, recipe.caption.model, recipe.base.vae) == ("none", "none", None)


def test_an_unknown_key_names_the_nearest_one() -> None:
    with pytest.raises(RecipeError, match=r"train\.learning_rat`.*did you mean `train\.learning_rate`"):
        resolve({"train": {"learning_rat": 1e-3}})


def test_every_fault_is_in_one_message() -> None:
    with pytest.raises(RecipeError) as caught:
        resolve({"train": {"seed": "x", "max_train_steps": 0}, "lorra": {}})
    assert "train.seed" in str(caught.value)
    assert "train.max_train_steps" in str(caught.value)
    assert "did you mean `lora`" in str(caught.value)


@pytest.mark.parametrize("override", ["train.seed", "seed=1", "a.b.c=1"])
def test_a_malformed_override_is_refused(override: str) -> None:
    with pytest.raises(RecipeError, match="not a setting"):
        load_recipe("pocket-8bit", [override])


def test_a_missing_recipe_lists_the_bundled_ones() -> None:
    with pytest.raises(RecipeError, match="pocket-8bit"):
        load_recipe("nothing-of-the-kind")


def test_broken_toml_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[train]\nseed = = 1\n")
    with pytest.raises(RecipeError, match="line 2"):
        load_recipe(str(path))


def test_a_recipe_is_frozen() -> None:
    recipe = load_recipe("pocket-8bit")
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.seed = 3  # type: ignore[misc]


def test_differences_name_table_and_key() -> None:
    old = {"train": {"seed": 0, "rank": 4}, "base": 1}
    new = {"train": {"seed": 1, "rank": 4}, "base": 1}
    assert differences(old, new) == ["train.seed: 0 -> 1"]


def test_every_key_has_a_sentence_of_documentation() -> None:
    from veneer.config import Recipe

    for table, field in Recipe.model_fields.items():
        for key, inner in type(field.default).model_fields.items():
            assert inner.description and inner.description.endswith("."), f"{table}.{key}"


def test_the_keys_stay_few_enough_to_be_read() -> None:
    assert len([key for key in known_keys() if "." in key]) <= 92


@pytest.mark.parametrize(
    ("override", "sources"),
    [
        ("collect.sources=my-pictures", ("my-pictures",)),
        ("'collect.sources=my pictures'", ("my pictures",)),
        ("collect.sources=[my-pictures, C:\\more]", ("my-pictures", "C:\\more")),
        ('collect.sources=["a, b"]', ("a, b",)),
    ],
)
def test_one_text_is_a_list_of_one_and_quotes_may_be_those_of_any_shell(
    override: str, sources: tuple[str, ...]
) -> None:
    assert load_recipe("sd15-style", [override]).collect.sources == sources


def test_one_number_is_a_list_of_one() -> None:
    assert load_recipe("sd15-style", ["generate.seeds=3"]).generate.seeds == (3,)


CONTRADICTIONS: list[tuple[dict[str, dict[str, Any]], str]] = [
    ({"lora": {"target_modules": "none"}}, "lora.target_modules"),
    ({"train": {"timestep_range": (500, 500)}}, "train.timestep_range"),
    ({"train": {"timestep_range": (-1, 500)}}, "train.timestep_range"),
    ({"train": {"choose": "style", "validation_share": 0.0}}, "train.choose"),
    ({"train": {"choose": "style"}, "generate": {"prompts": []}}, "train.choose"),
    ({"generate": {"seeds": []}}, "generate.seeds"),
    (
        {"generate": {"prompts": []}, "compare": {"general_prompts": [], "held_out_prompts": 0}},
        "generate.prompts",
    ),
    (
        {"generate": {"prompts": []}, "compare": {"general_prompts": []}, "train": {"validation_share": 0.0}},
        "generate.prompts",
    ),
]


@pytest.mark.parametrize(("tables", "key"), CONTRADICTIONS)
def test_keys_that_contradict_each_other_are_refused_at_once(
    tables: dict[str, dict[str, Any]], key: str
) -> None:
    with pytest.raises(RecipeError, match=rf"`{key}`: ") as caught:
        resolve(tables)
    assert "got {" not in str(caught.value)


@pytest.mark.parametrize("key", ["train.validation_share=0", "train.choose=style"])
def test_a_contradiction_is_blamed_on_the_override_that_made_it(key: str, tmp_path: Path) -> None:
    tables = {"choose": "style"} if "share" in key else {"validation_share": 0}
    (tmp_path / "own.toml").write_text(tomli_w.dumps({"train": tables}))
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(tmp_path / "own.toml"), [key])
    assert f"in --set {key.partition('=')[0]}" in str(caught.value)
    assert "own.toml" not in str(caught.value)


def test_keys_that_only_look_contradictory_are_not() -> None:
    resolve({"generate": {"prompts": []}, "train": {"choose": "last", "validation_share": 0.0}})
    resolve({"lora": {"target_modules": "none", "embedding_token": "cat"}})
    resolve({"train": {"choose": "style"}, "compare": {"general_prompts": []}})


def test_all_contradictions_are_in_one_message() -> None:
    with pytest.raises(RecipeError, match=r"`lora\.target_modules`.*`generate\.seeds`"):
        resolve({"lora": {"target_modules": "none"}, "generate": {"seeds": []}})


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 5000,
        "[train]\nseed = " + "9" * 5000,
        "[train]\nseed = 0x" + "f" * 5000,
        "[collect]\nsources = " + "[" * 90 + "]" * 90,
        "[train]\nlearning_rate = " + "{a = " * 5000,
    ],
)
def test_a_recipe_that_is_nested_or_large_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(RecipeError) as error:
        load_recipe(str(tmp_path / "r.toml"))
    assert len(str(error.value)) < 1000
    setting = (
        text.replace("[train]\n", "train.").replace("[collect]\n", "collect.").replace("x = ", "train.x=")
    )
    with pytest.raises(RecipeError):
        load_recipe("pocket-8bit", [setting])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_recipe_that_windows_saved_is_read(tmp_path: Path, encoding: str) -> None:
    text = recipe_text("pocket-8bit").replace("\n", "\r\n")
    (tmp_path / "r.toml").write_bytes(text.encode(encoding))
    assert load_recipe(str(tmp_path / "r.toml")) == load_recipe("pocket-8bit")


def test_a_windows_path_is_told_how_to_write_it(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[collect]\nsources = ["C:\\Users\\me"]\n')
    with pytest.raises(RecipeError, match="'single quotes', or with /"):
        load_recipe(str(tmp_path / "r.toml"))


@pytest.mark.parametrize(
    "setting", ["generate.seeds=[99999999999999999999]", "train.seed=9223372036854775808"]
)
def test_a_seed_that_no_generator_takes_is_said_at_once(setting: str) -> None:
    key = setting.partition("=")[0]
    with pytest.raises(RecipeError, match=rf"`{key}` in --set {key}: .*beyond 2\^63"):
        load_recipe("pocket-8bit", [setting])


def test_a_wrong_override_is_told_where_it_came_from() -> None:
    with pytest.raises(
        RecipeError, match=r"in --set train\.learning_rate: input should be greater than 0"
    ) as told:
        load_recipe("pocket-8bit", ["train.learning_rate=0"])
    assert "in pocket-8bit" not in str(told.value)
    with pytest.raises(RecipeError, match="in recipe: input should be greater than 0"):
        resolve({"train": {"learning_rate": 0}})
