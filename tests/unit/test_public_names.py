"""One name, one thing: who searches for a public name finds one definition."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from veneer.cli.verbs import GROUPS
from veneer.stage import STAGE_NAMES

SOURCE = Path(__file__).parents[2] / "src" / "veneer"
VERBS = frozenset(verb.__name__ for verbs in GROUPS.values() for verb, _ in verbs)
ROOMS_WITH_A_STAGE = ("stages/", "training/", "encoding/", "captions/", "models/", "data/", "proof/")

Homes = Mapping[str, Sequence[str]]


def public_names(tree: ast.Module) -> Iterator[str]:
    """Functions, classes, constants and aliases that a module defines, without those marked as its own."""
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names = [name]
            case ast.Assign(targets=targets):
                leaves = [leaf for target in targets for leaf in ast.walk(target)]
                names = [leaf.id for leaf in leaves if isinstance(leaf, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case _:
                names = []
        yield from (name for name in names if not name.startswith("_"))


def homes_of_names(sources: Mapping[str, str]) -> Homes:
    homes: dict[str, list[str]] = defaultdict(list)
    for path, text in sources.items():
        for name in dict.fromkeys(public_names(ast.parse(text))):
            homes[name].append(path)
    return homes


def is_meant(name: str, homes: Sequence[str]) -> bool:
    """Whether a name may stand in several files; each class has its reason."""
    apart = {home for home in homes if home != f"cli/{name}.py"}
    if name in VERBS and len(apart) < len(homes) and len(apart) == 1:
        return True  # a verb is called like the function of the API that it calls
    if name == "run":
        # every stage is called alike by the pipeline, which itself is `veneer.run` and the verb of that name
        stages = {f"stages/{stage}.py" for stage in STAGE_NAMES}
        return apart - stages == {"pipeline.py"}
    if name in {"build", "wire"}:
        return all(home.startswith("web/tabs/") for home in homes)  # every tab is put together alike
    if name == "STAGE":
        return all(home.startswith(ROOMS_WITH_A_STAGE) for home in homes)  # each room names the one it serves
    return name == "main" and set(homes) == {"__main__.py", "cli/__init__.py"}  # a program begins there


def doubles(homes: Homes) -> dict[str, Sequence[str]]:
    return {name: where for name, where in homes.items() if len(where) > 1 and not is_meant(name, where)}


def test_no_two_public_things_have_one_name() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    homes = homes_of_names({path.relative_to(SOURCE).as_posix(): path.read_text() for path in files})
    assert doubles(homes) == {}


def test_a_double_is_found_whatever_it_is() -> None:
    definitions = "def twice(): ...", "class twice: ...", "twice = 1", "twice: int = 1", "once, twice = 1, 2"
    for text in definitions:
        homes = homes_of_names({"data/a.py": text, "lora/b.py": "def twice(): ..."})
        assert doubles(homes) == {"twice": ["data/a.py", "lora/b.py"]}, text
    assert doubles(homes_of_names({"a.py": "def _own(): ...", "b.py": "def _own(): ..."})) == {}


def test_what_is_allowed_is_allowed_in_its_place_alone() -> None:
    assert not is_meant("train", ["stages/train.py", "web/tabs/train.py"])
    assert is_meant("train", ["cli/train.py", "stages/train.py"])
    assert not is_meant("train", ["cli/train.py", "stages/train.py", "training/trainer.py"])
    assert not is_meant("run", ["cli/run.py", "pipeline.py", "machine.py"])
    assert not is_meant("build", ["web/app.py", "web/tabs/runs.py"])
