"""The recipe's commands: ``python -m pocket all | fetch | draw | vae | ...`` (see ``--help``)."""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace

from .config import SIZES, TRAININGS, Size
from .sources import RecipeError
from .stages import ALL, FUNCTIONS, Job, run_in_turn, run_side_by_side


def main() -> int:
    """Run the commands; returns the exit status."""
    arguments = _parser().parse_args()
    size = SIZES[arguments.size]
    if arguments.compile is not None:
        size = replace(size, is_compiled=arguments.compile)
    try:
        _run(plan(arguments, size), size)
    except RecipeError as problem:
        print(f"pocket: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pocket", description="Make the bundled base model.")
    parser.add_argument(
        "commands",
        nargs="+",
        choices=["all", *FUNCTIONS],
        metavar="COMMAND",
        help=", ".join(["all", *FUNCTIONS]),
    )
    parser.add_argument("--size", choices=SIZES, default="cpu")
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="compile UNet and autoencoder before they train (default: on a GPU's size)",
    )
    parser.add_argument("--steps", type=int, help="stop each training at this step")
    parser.add_argument(
        "--decay", type=int, default=0, help="let the rate fall over so many steps before --steps"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help="stop each training after so many seconds, over all sessions; where the size has budgets of "
        "seconds: those of all trainings that are asked for together, each its part",
    )
    return parser


def plan(arguments: argparse.Namespace, size: Size) -> list[Job]:
    """The stages that were asked for, in the order of the recipe, each with its budget."""
    asked = arguments.commands
    if "all" in asked:
        asked = [stage for stage in ALL if stage not in TRAININGS or stage in size.seconds]
    seconds = {stage: size.seconds.get(stage) for stage in asked}
    if arguments.seconds is not None:
        seconds = share_seconds(arguments.seconds, seconds)
    return [
        Job(stage, arguments.steps, arguments.decay, seconds[stage]) for stage in FUNCTIONS if stage in asked
    ]


def share_seconds(whole: float, budgets: dict[str, float | None]) -> dict[str, float | None]:
    """Seconds for each stage: all of them where none has a budget, else in proportion to the budgets."""
    total = sum(filter(None, budgets.values()))
    return {stage: whole * (budget / total if budget else 1.0) for stage, budget in budgets.items()}


def _run(jobs: Iterable[Job], size: Size) -> None:
    from veneer.processes import num_processes

    from .device import training_device

    jobs = list(jobs)
    others = [job.stage for job in jobs if job.stage != "unet"]
    if num_processes() > 1 and others:
        raise RecipeError(f"{others[0]} runs in one process; several train the UNet only")
    is_beside = len(jobs) > 1 and training_device().type == "cuda"
    (run_side_by_side if is_beside else run_in_turn)(jobs, size)


if __name__ == "__main__":
    sys.exit(main())
