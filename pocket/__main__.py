"""The recipe's commands: ``python -m pocket all | fetch | draw | vae | ...`` (see ``--help``)."""

import argparse
import json
import sys
from dataclasses import replace

from veneer.launch import num_processes

from .config import SIZES, Size
from .sources import RecipeError
from .training import Budget


def main() -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args()
    size = replace(SIZES[arguments.size], is_compiled=arguments.compile)
    budget = Budget(arguments.steps, arguments.seconds, arguments.decay)
    try:
        if num_processes() > 1 and arguments.command != "unet":
            raise RecipeError(f"{arguments.command} runs in one process; several train the UNet only")
        for command in ORDER if arguments.command == "all" else (arguments.command,):
            COMMANDS[command](size, budget)
    except RecipeError as problem:
        print(f"pocket: {problem}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pocket", description="Make the bundled base model.")
    parser.add_argument("command", choices=["all", *COMMANDS])
    parser.add_argument("--size", choices=SIZES, default="cpu")
    parser.add_argument("--compile", action="store_true", help="compile the UNet before it trains")
    parser.add_argument("--steps", type=int, help="stop each training at this step")
    parser.add_argument(
        "--decay", type=int, default=0, help="let the rate fall over so many steps before --steps"
    )
    parser.add_argument(
        "--seconds", type=float, help="stop each training after so many seconds, over all sessions"
    )
    return parser


def _fetch(size: Size, budget: Budget) -> None:
    from .sources import fetch_sources

    fetch_sources()


def _adopt(size: Size, budget: Budget) -> None:
    from .adopt import adopt_shipped

    adopt_shipped(size)


def _draw(size: Size, budget: Budget) -> None:
    from .draw import draw_everything

    draw_everything(size)


def _vae(size: Size, budget: Budget) -> None:
    from .train_vae import train_vae

    train_vae(size, budget)


def _decoder(size: Size, budget: Budget) -> None:
    from .train_vae import train_decoder

    train_decoder(size, budget)


def _tokenizer(size: Size, budget: Budget) -> None:
    from .tokenizer import make_tokenizer

    make_tokenizer(size)


def _clip(size: Size, budget: Budget) -> None:
    from .train_clip import train_clip

    train_clip(size, budget)


def _vision(size: Size, budget: Budget) -> None:
    from .train_clip import train_vision

    train_vision(size, budget)


def _layout(size: Size, budget: Budget) -> None:
    from .train_layout import train_layout

    train_layout(size, budget)


def _unet(size: Size, budget: Budget) -> None:
    from .train_unet import train_unet

    train_unet(size, budget)


def _judge(size: Size, budget: Budget) -> None:
    from .train_judge import train_judge

    train_judge(size, budget)


def _captioner(size: Size, budget: Budget) -> None:
    from .train_captioner import train_captioner

    train_captioner(size, budget)


def _export(size: Size, budget: Budget) -> None:
    from .export import export_base

    export_base(size)


def _demo(size: Size, budget: Budget) -> None:
    from .demo_pictures import make_demo_pictures

    make_demo_pictures()


def _eval(size: Size, budget: Budget) -> None:
    from .evaluate import evaluate

    print(json.dumps(evaluate()["summary"], indent=1))


COMMANDS = {
    "fetch": _fetch,
    "draw": _draw,
    "adopt": _adopt,
    "tokenizer": _tokenizer,
    "clip": _clip,
    "vision": _vision,
    "vae": _vae,
    "decoder": _decoder,
    "layout": _layout,
    "unet": _unet,
    "captioner": _captioner,
    "judge": _judge,
    "demo": _demo,
    "export": _export,
    "eval": _eval,
}
ORDER = (
    "fetch",
    "draw",
    "tokenizer",
    "clip",
    "vision",
    "vae",
    "layout",
    "unet",
    "decoder",
    "captioner",
    "judge",
    "demo",
    "export",
    "eval",
)

if __name__ == "__main__":
    sys.exit(main())
