"""Which strength is taken: the one whose weakest claim is the surest, on pictures that do not judge."""

import json
import shutil
from pathlib import Path

import pytest

from helpers.proofrun import make_run, proof_recipe
from veneer.config import Recipe
from veneer.errors import RecipeError
from veneer.intervals import Interval
from veneer.proof.comparison import Comparison
from veneer.proof.facts import Facts
from veneer.proof.strengths import strength_of, sureness, surest
from veneer.proof.sweep import Swept
from veneer.proof.verdict import judge
from veneer.recipe import resolve
from veneer.records.cache import read_index
from veneer.records.run import RunDir
from veneer.stages.generate import generate
from veneer.stats import Measure


def measure(gain: float, reach: float, base: float = 0.5) -> Measure:
    interval: Interval = (gain - reach, gain + reach)
    return Measure(base, base + gain, gain, interval, interval, 12, 0.5, "higher")


def swept(scale: float, style: Measure, prompt: Measure) -> Swept:
    measures = {"style": style, "prompt": prompt}
    facts = Facts(num_prompts=12, num_held_out=6, num_pictures=12)
    found = Comparison(judge(measures, facts), measures, {}, (), None, (), (), facts)
    return Swept(Path("a.safetensors"), scale, Path("x"), found)


def test_sureness_counts_the_room_to_the_margin_in_reaches_of_the_interval() -> None:
    assert sureness(measure(0.04, 0.02), 0.0) == pytest.approx(2.0)
    assert sureness(measure(-0.01, 0.02), 0.02) == pytest.approx(0.5)
    assert sureness(measure(-0.03, 0.0), 0.02) == -1000.0
    assert sureness(measure(-0.01, 0.0), 0.02) == 1000.0
    assert sureness(measure(0.0, 0.0), 0.0) == 0  # an adapter that changes nothing is sure of nothing
    assert sureness(None, 0.02) == 0.0


def test_full_strength_that_loses_the_prompt_gives_way_to_a_lower_one() -> None:
    weak = swept(0.4, measure(0.005, 0.01), measure(-0.001, 0.005))
    middle = swept(0.7, measure(0.04, 0.02), measure(-0.005, 0.008))
    full = swept(1.0, measure(0.08, 0.03), measure(-0.04, 0.015))
    found = surest([full, weak, middle], "x", 0.02)
    assert found.scale == 0.7
    assert [one.scale for one in found.tried] == [0.4, 0.7, 1.0]
    assert found.tried[1].sureness == pytest.approx(0.015 / 0.008, abs=1e-3)  # the prompt's is the less sure


def test_of_equals_the_stronger_is_taken() -> None:
    same = measure(0.04, 0.02), measure(-0.001, 0.005)
    assert surest([swept(0.8, *same), swept(1.0, *same), swept(0.6, *same)], "x", 0.02).scale == 1.0


def test_a_learnt_word_has_no_strength_to_choose() -> None:
    with pytest.raises(RecipeError, match="scales"):
        resolve({"compare": {"scales": [0.5, 1.0]}, "lora": {"embedding_token": "<x>"}})


@pytest.fixture(scope="module")
def drawn(
    tmp_path_factory: pytest.TempPathFactory, base_folder: Path, picture_folder: Path, clip_folder: Path
) -> tuple[RunDir, Recipe]:
    run = make_run(tmp_path_factory.mktemp("strengths") / "run", base_folder, picture_folder)
    recipe = proof_recipe(base_folder, clip_folder)
    recipe = recipe.model_copy(
        update={"compare": recipe.compare.model_copy(update={"scales": (0.5, 1.0), "general_prompts": ()})}
    )
    generate(run, recipe)
    return run, recipe


def test_what_was_found_is_drawn_with_and_found_once(drawn: tuple[RunDir, Recipe]) -> None:
    run, recipe = drawn
    told = json.loads(run.strength_json.read_text())
    assert [one["scale"] for one in told["tried"]] == [0.5, 1.0]
    assert strength_of(run, recipe) == told["scale"]
    settings = json.loads(run.drawn.settings_json.read_text())
    assert settings["tuned"]["scale"] == told["scale"]
    before = run.strength_json.stat().st_mtime_ns
    generate(run, recipe)
    assert run.strength_json.stat().st_mtime_ns == before


def test_too_few_held_out_pictures_leave_no_older_choice_behind(
    drawn: tuple[RunDir, Recipe], tmp_path: Path
) -> None:
    run = RunDir(shutil.copytree(drawn[0].root, tmp_path / "run"))
    index = read_index(run)
    items = [item.model_copy(update={"split": "train"}) for item in index.items]
    index.model_copy(update={"items": items}).write(run.cache_index)
    told: list[str] = []
    generate(run, drawn[1], lambda event: told.append(getattr(event, "code", "")))
    assert "strength-not-chosen" in told
    assert strength_of(run, drawn[1]) == drawn[1].compare.scale
    assert not run.strength_json.exists()


def test_what_chooses_is_not_what_judges(drawn: tuple[RunDir, Recipe]) -> None:
    run, _ = drawn
    judged = {path.name.split("-")[1] for path in run.drawn.of("tuned").glob("*.png")}
    chosen = {path.name.split("-")[1] for path in (run.strength_samples / "base").glob("*.png")}
    assert judged and chosen and not judged & chosen  # seeds


def test_the_bases_pictures_are_the_same_as_without_a_choice(
    drawn: tuple[RunDir, Recipe], tmp_path: Path, base_folder: Path, picture_folder: Path, clip_folder: Path
) -> None:
    run, recipe = drawn
    plain = make_run(tmp_path / "run", base_folder, picture_folder)
    table = recipe.compare.model_copy(update={"scales": (), "scale": strength_of(run, recipe)})
    train = recipe.train.model_copy(update={"choose": "style"})  # which leaves out the same held-out pictures
    generate(plain, recipe.model_copy(update={"compare": table, "train": train}))
    ours = [*run.drawn.of("base").glob("*.png"), *run.drawn.of("tuned").glob("*.png")]
    assert ours
    for path in ours:
        assert path.read_bytes() == (plain.samples / path.relative_to(run.samples)).read_bytes()
