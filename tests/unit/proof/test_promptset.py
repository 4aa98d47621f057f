import pytest

from veneer.errors import RunError
from veneer.proof import promptset
from veneer.recipe import resolve
from veneer.records.prompts import Prompt

RECIPE = resolve(
    {
        "generate": {"prompts": ["a", "b", "a"], "seeds": [5, 6, 7, 5]},
        "compare": {"held_out_prompts": 2, "general_prompts": ["g", "b"]},
    }
)


def test_a_prompt_that_comes_twice_is_drawn_once() -> None:
    prompts = promptset.build_prompts(RECIPE, ["c", "c", "d", "e"])
    assert [(p.prompt, p.kind) for p in prompts] == [
        ("a", "recipe"), ("b", "recipe"), ("c", "held_out"), ("d", "held_out"), ("g", "general")
    ]  # fmt: skip
    assert [p.index for p in prompts] == list(range(5))


def test_only_recipe_prompts_get_every_seed() -> None:
    jobs = promptset.build_jobs(promptset.build_prompts(RECIPE, ["c"]), RECIPE.generate.seeds)
    assert [(j.prompt.prompt, j.seed) for j in jobs] == [
        ("a", 5), ("a", 6), ("a", 7), ("b", 5), ("b", 6), ("b", 7), ("c", 2005), ("c", 2006), ("g", 3005)
    ]  # fmt: skip
    assert jobs[1].file_name == "000-6.png"


def test_no_prompt_at_all_is_refused() -> None:
    empty = resolve({"generate": {"prompts": []}, "compare": {"general_prompts": []}})
    with pytest.raises(RunError, match="no prompt"):
        promptset.build_prompts(empty, [])


@pytest.mark.parametrize("seed", [-(2**63) - 1, 2**63, 99_999_999_999_999_999_999])
def test_a_seed_that_no_generator_takes_is_refused(seed: int) -> None:
    with pytest.raises(RunError, match="is no seed"):
        promptset.build_jobs([Prompt(index=0, prompt="a", kind="recipe")], [0, seed])
