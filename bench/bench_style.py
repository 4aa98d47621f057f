"""The style bench: customising measured against truth, on four styles that the pocket base never saw.

    python -m bench.bench_style [--steps 240] [--seeds 0 1 2] [--styles openmoji ...] [--work FOLDER]
        [--set KEY=VALUE ...]

For each style and seed: learn from 48 pictures, then ask for 48 other subjects whose true pictures exist.
Systems: the base with its best prompt; the plain loop (`bench.plain_loop`) at Veneer's batch and its own best
learning rate; Veneer's recipe in as many steps; the same in a third of them. ``--systems`` adds
``plain-report``, the plain loop at the report's own settings.

Each system is kept in the work folder as soon as it is measured, so the same command goes on where it
stopped, and parts (``--styles``, ``--seeds``) may run side by side. A system is done again where base, judge
or settings changed. The whole writes ``bench/results/style_HARDWARE_DATE.{json,md,png}``; a part only prints
its table unless ``--write`` asks for the document of all styles with fewer seeds or systems, and so does a
trial of other settings (``--set train.learning_rate=1e-3``).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.style_systems import (
    BASE,
    EXTRA_SYSTEMS,
    SYSTEMS,
    TRUTH,
    Plan,
    Scores,
    best_word,
    general_features,
    recommended,
    score,
    scores_of,
    settings_of,
    train_system,
)
from bench.style_tables import Found, Measured, document, write_results
from bench.style_tasks import NUM_SUBJECTS, STYLES, Style, Task, build_task, the_judge, write_dataset
from pocket.judge import JUDGE_FILE
from pocket.sources import RecipeError
from veneer.lora.loading import load_lora, unload_lora
from veneer.machine import set_threads
from veneer.models.embedder import Embedder, load_embedder
from veneer.models.sampling import Sampler, load_sampler
from veneer.recipe import fingerprint
from veneer.records.files import hash_file, write_json

SCORES, PICTURES = "scores.json", "pictures.npz"


@dataclass(frozen=True)
class StyleBench:
    """What all systems are measured with, loaded once.

    Attributes:
        general: The base's own features on general prompts, (G, D).
        judge_hash: Name of exactly these weights of the judge.
    """

    plan: Plan
    sampler: Sampler
    clip: Embedder
    general: np.ndarray
    judge_hash: str

    def identity(self, settings: Mapping[str, Any]) -> str:
        """Name what a system's scores depend on.

        Args:
            settings: How the system was trained.

        Returns:
            A short hash.
        """
        table = self.sampler.table.model_dump(mode="json", exclude={"prompts", "seeds"})
        own = [self.sampler.fingerprint, self.judge_hash, table, self.plan.num_subjects]
        return fingerprint([*own, dict(settings)])


def load_bench(plan: Plan) -> StyleBench:
    """Load base, CLIP and judge.

    Raises:
        RecipeError: If the judge was never trained.
    """
    the_judge()
    set_threads()
    sampler, clip = load_sampler("pocket", recommended(plan.steps, 0).generate), load_embedder("pocket")
    return StyleBench(plan, sampler, clip, general_features(sampler, clip), hash_file(JUDGE_FILE))


def measure_style(bench: StyleBench, style: Style) -> dict[str, dict[str, Measured]]:
    """Every system on one style, seed by seed.

    Args:
        bench: What is measured with.

    Returns:
        What was found, by seed and system; truth and base are the same for every seed.
    """
    plan, root = bench.plan, bench.plan.work / style.name
    task = build_task(style, 0, bench.sampler.native_px, plan.num_subjects)
    base, truth = _measure_base(bench, task, root / BASE), _measure_truth(bench, task)
    by_seed = {}
    for seed in plan.seeds:
        task = build_task(style, seed, bench.sampler.native_px, plan.num_subjects)
        folder = root / f"seed-{seed}"
        found = {system: _measure_system(bench, system, task, seed, folder) for system in plan.systems}
        by_seed[str(seed)] = {TRUTH: truth, BASE: base, **found}
    return by_seed


def _measure_base(bench: StyleBench, task: Task, folder: Path) -> Measured:
    identity = bench.identity({"arm": BASE})
    kept = _kept(folder, identity)
    if kept is None:
        unload_lora(bench.sampler)
        word = best_word(bench.sampler, task)
        scores, drawn = score(bench.sampler, bench.clip, task, word, bench.general, is_base=True)
        kept = _keep(folder, identity, Measured(scores, 0.0, word), drawn)
        _tell(task, "all seeds", f"base, called {word!r}", kept)
    return kept


def _measure_truth(bench: StyleBench, task: Task) -> Measured:
    """What the true pictures themselves get: no adapter can be asked for more."""
    scores = scores_of(task.true_pictures(task.asked), bench.clip, task, np.zeros(0))
    return Measured(scores, 0.0, task.style.word)


def _measure_system(bench: StyleBench, system: str, task: Task, seed: int, folder: Path) -> Measured:
    identity = bench.identity({"arm": system, **settings_of(system, bench.plan, seed)})
    kept = _kept(folder / system, identity)
    if kept is None:
        shutil.rmtree(folder / system, ignore_errors=True)
        if not (folder / "data" / "metadata.csv").is_file():
            write_dataset(task, folder / "data")
        lora, seconds = train_system(system, bench.plan, seed, folder, side_px=task.side_px)
        load_lora(bench.sampler, lora)
        scores, drawn = score(bench.sampler, bench.clip, task, task.style.word, bench.general)
        unload_lora(bench.sampler)
        kept = _keep(folder / system, identity, Measured(scores, round(seconds, 1), task.style.word), drawn)
        _tell(task, f"seed {seed}", system, kept)
    return kept


def _kept(folder: Path, identity: str) -> Measured | None:
    path = folder / SCORES
    stored = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if stored.get("identity") != identity:
        return None
    return Measured(Scores(**stored["scores"]), stored["seconds"], stored["word"])


def _keep(folder: Path, identity: str, found: Measured, drawn: np.ndarray) -> Measured:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / PICTURES, drawn=drawn)
    write_json(folder / SCORES, {"identity": identity, **asdict(found)})
    return found


def _tell(task: Task, seed: str, system: str, found: Measured) -> None:
    scores = found.scores
    parts = {"similarity": scores.similarity, "first": scores.first, "styled": scores.styled}
    numbers = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in parts.items())
    print(
        f"{task.style.name}, {seed}, {system}: {numbers}, {found.seconds:.0f} s", file=sys.stderr, flush=True
    )


def sheet_rows(plan: Plan, side_px: int) -> list[np.ndarray]:
    """Rows of the sheet: for each style the truth, the base and every system of the first seed.

    Args:
        plan: What the bench was asked for; every system is measured.

    Returns:
        Pictures of the first asked subjects, (N, side, side, 3) uint8 each.
    """
    rows = []
    for style in plan.styles:
        task, root = build_task(style, plan.seeds[0], side_px, plan.num_subjects), plan.work / style.name
        rows.append(task.true_pictures(task.asked))
        for folder in (root / BASE, *(root / f"seed-{plan.seeds[0]}" / system for system in plan.systems)):
            with np.load(folder / PICTURES) as stored:
                rows.append(stored["drawn"])
    return [row[:16] for row in rows]


def read_plan(arguments: list[str] | None = None) -> Plan:
    """Read the command line.

    Args:
        arguments: Its words; None for the program's own.

    Returns:
        What is asked for.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [style.name for style in STYLES]
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--styles", nargs="+", default=names, choices=names)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=[*SYSTEMS, *EXTRA_SYSTEMS])
    parser.add_argument("--subjects", type=int, default=NUM_SUBJECTS)
    parser.add_argument("--work", type=Path, default=Path("runs/style"))
    parser.add_argument(
        "--write", action="store_true", help="write the document with fewer seeds or systems too"
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="changes")
    asked = parser.parse_args(arguments)
    chosen = tuple(style for style in STYLES if style.name in asked.styles)
    work = asked.work / f"{asked.steps}-steps"
    return Plan(
        asked.steps,
        tuple(asked.seeds),
        chosen,
        tuple(asked.systems),
        work,
        asked.subjects,
        tuple(asked.changes),
        asked.write,
    )


def is_whole(plan: Plan) -> bool:
    """Whether a plan is the style bench itself: every style and subject, the shipped recipe, three seeds.

    Returns:
        False for a part or a trial, whose figures are not written to ``bench/results``; with ``--write`` one
        seed is enough, and the document says how many there were.
    """
    is_every = len(plan.styles) == len(STYLES) and plan.num_subjects == NUM_SUBJECTS
    return is_every and (len(plan.seeds) >= 3 or plan.is_written) and not plan.changes


def main() -> int:
    """Measure what is missing; print the table, and write it where nothing was left out.

    Returns:
        Exit status.
    """
    plan = read_plan()
    try:
        bench = load_bench(plan)
    except RecipeError as problem:
        print(f"bench_style: {problem}", file=sys.stderr)
        return 1
    found: Found = {style.name: measure_style(bench, style) for style in plan.styles}
    if is_whole(plan):
        write_results(plan, found, sheet_rows(plan, bench.sampler.native_px))
    print(document(plan, found))
    if not is_whole(plan):
        print("A part or a trial only: nothing was written to bench/results.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
