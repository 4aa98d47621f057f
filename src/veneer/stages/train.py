"""Train the adapter on the cache: resume where the newest checkpoint is, judge, and name the best candidate.

``veneer train RUN``. The loop itself is in `veneer.training.trainer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from veneer import machine, processes
from veneer.arguments import PathLike
from veneer.config import Recipe
from veneer.errors import RunError
from veneer.events import OnEvent, Progress, StageStarted, ignore
from veneer.kernels.cudnn import choosing_kernels
from veneer.notebook import in_notebook
from veneer.recipe import differences, fingerprint
from veneer.records.cache import BUDGET_BYTES, CacheIndex, CacheReader, read_index
from veneer.records.candidates import Candidate
from veneer.records.run import AnyRun, RunDir, opened
from veneer.stage import FREE_KEYS, pick, stage_of
from veneer.training import STAGE, checkpoints
from veneer.training.batches import batch_source
from veneer.training.cache_checks import check_against_cache
from veneer.training.evaluator import Evaluator
from veneer.training.interrupt import Interruption, watch_signals
from veneer.training.losses import build_loss, build_objective
from veneer.training.machine_limits import fit_to_machine, this_machine
from veneer.training.network import KEPT_SHARE, build_network
from veneer.training.optimizers import build_optimizer
from veneer.training.plan import plan_for
from veneer.training.previews import preview_maker, style_scorer
from veneer.training.step.compile import compile_unet
from veneer.training.step.pace import SlowdownWatch
from veneer.training.step.prefetch import Prefetcher
from veneer.training.trainer import Trainer, TrainerParts
from veneer.training.validation import Validator
from veneer.unused_settings import unused_settings


@dataclass(frozen=True)
class TrainResult:
    """What training gave.

    Attributes:
        steps: Optimizer steps done.
        base_loss: Held-out loss of the untuned base, or None where nothing is held out.
        stopped: Why training ended early, or None.
        reason: Why this candidate was chosen.
    """

    steps: int
    chosen: Candidate
    base_loss: float | None
    stopped: str | None
    reason: str

    @property
    def summary(self) -> str:
        """One line of what came out."""
        return f"{self.steps} steps; {self.chosen.kind} {self.chosen.step} is chosen: {self.reason}"


def train(
    run: AnyRun, recipe: Recipe | PathLike | None = None, on_event: OnEvent = in_notebook
) -> TrainResult:
    """Train a run's adapter, or go on with it.

    Returns:
        What training gave; `candidates.json` has the rest.

    Raises:
        RunError: If there is no cache, the recipe does not fit the checkpoints, or the disk is full.
        RecipeError: If a setting does not fit the base or the machine.
        TrainingError: If the loss is not a number even after going back, or memory does not suffice.
        KeyboardInterrupt: If the user asked to stop; the step was finished and saved.
    """
    run, recipe = opened(run, recipe)
    for unused in unused_settings(recipe):
        if unused.notice.stage == STAGE:
            on_event(unused.notice)
    return _train(run, recipe, on_event)


def _train(run: RunDir, recipe: Recipe, on_event: OnEvent = ignore) -> TrainResult:
    machine.set_threads()
    on_event = SlowdownWatch(on_event)
    index = read_index(run)
    identity = checkpoint_identity(index, recipe)
    found = _newest(run, on_event)
    if found is not None:
        refuse_changes(run, found.state["identity"], identity)
    recipe = fit_to_machine(recipe, this_machine(), lambda one: plan_for(one, 1, 0).memory_gib, on_event)
    is_one_shape = len(index.shapes) == 1
    choosing = choosing_kernels(is_one_shape=is_one_shape, same_bits=recipe.train.deterministic)
    with choosing, watch_signals(on_event) as interruption:
        trainer = build_trainer(
            run, recipe, index, identity=identity, interruption=interruption, on_event=on_event
        )
        if found is not None:
            trainer.resume(found)
        on_event(StageStarted(STAGE, recipe.train.max_train_steps, "steps"))
        on_event(Progress(STAGE, trainer.step))
        try:
            with checkpoints.as_run_error(run.train), machine.keeping_freed_memory():
                trainer.train()
                trainer.finish()
        finally:
            trainer.close()
    return _result(trainer, recipe)


run = _train
"""The stage, as the pipeline calls it, which has told of what does not act already."""


def build_trainer(
    run: RunDir,
    recipe: Recipe,
    index: CacheIndex,
    *,
    identity: dict[str, Any],
    interruption: Interruption,
    on_event: OnEvent,
) -> Trainer:
    """Make every choice that the loop does not make.

    Args:
        identity: What the result depends on, for the checkpoints.
        interruption: Tells whether to stop.

    Returns:
        A trainer at step 0.
    """
    settings = recipe.train
    check_against_cache(recipe, index, on_event)
    accelerator = processes.accelerator(settings.mixed_precision)
    network = build_network(recipe, accelerator.device, on_event)
    objective = build_objective(network, settings)
    reader = CacheReader(run.cache)
    if accelerator.device.type == "cuda":  # most of what a batch takes, and the same again and again
        free = torch.cuda.mem_get_info(accelerator.device)[0]
        reader.keep_texts_on(accelerator.device, index.texts, min(free // KEPT_SHARE, BUDGET_BYTES))
    source = batch_source(reader, index, recipe, network.path)
    optimizer = build_optimizer(network.parameters, settings, accelerator.device, on_event)
    validator = Validator(
        network,
        objective,
        index,
        reader,
        seed=settings.seed,
        timestep_range=source.timestep_range,
        accelerator=accelerator,
        on_event=on_event,
    )
    loss = build_loss(network, objective, recipe)
    if settings.compile:
        first = next(source.at(1)).to(accelerator.device)
        compile_unet(network.unet, loss, first, accelerator.autocast, on_event)
    style = style_scorer(run, recipe, network, accelerator, index)
    return Trainer(
        TrainerParts(
            run=run,
            recipe=recipe,
            accelerator=accelerator,
            network=network,
            loss=loss,
            batches=Prefetcher(source, accelerator.device),
            optimizer=optimizer,
            judge=Evaluator(run, settings, network, optimizer, validator, style, on_event),
            preview=preview_maker(run, recipe, network, accelerator, on_event),
            interruption=interruption,
            identity=identity,
            on_event=on_event,
        )
    )


def checkpoint_identity(index: CacheIndex, recipe: Recipe) -> dict[str, Any]:
    """What the weights of a checkpoint depend on, so that training may go on from it.

    That is less than what the result of the stage depends on: how candidates are judged and chosen may change
    on the way, and so may the last step where the learning rate does not depend on it.
    """
    tables = pick(recipe, ("lora", "train"), without=FREE_KEYS + stage_of(STAGE).open_keys)
    if recipe.train.lr_scheduler.startswith("constant"):
        del tables["train"]["max_train_steps"]
    return {
        "base": index.base,
        "cache": fingerprint(index.model_dump()),
        "encode": {"flip": recipe.encode.flip},
        **tables,
    }


def refuse_changes(run: RunDir, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with a checkpoint of another recipe.

    Args:
        before: The checkpoint's identity.
        now: The recipe's.

    Raises:
        RunError: If they differ, with the differences.
    """
    later = {table: _with_later_keys(table, before[table], now[table]) for table in ("lora", "train")}
    if changed := differences({**before, **later}, now):
        raise RunError(
            f"the checkpoints were trained with other settings: {'; '.join(changed)}",
            where=str(run.checkpoints),
            todo="Take the old settings back, train in another run folder, or remove RUN/train to start over",
        )


def _with_later_keys(table: str, before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint of an earlier version was trained with: a key that came later had its default."""
    defaults = Recipe().model_dump(mode="json")[table]
    return {key: defaults[key] for key in now if key in defaults} | before


def _newest(run: RunDir, on_event: OnEvent) -> checkpoints.Checkpoint | None:
    if processes.is_main_process():
        checkpoints.load_newest([run.checkpoints, run.stopped], on_event)
    processes.wait_for_everyone()  # the main process has put damaged ones away
    return checkpoints.load_newest([run.checkpoints, run.stopped], ignore)


def _result(trainer: Trainer, recipe: Recipe) -> TrainResult:
    chosen, reason = trainer.record.chosen(recipe.train.choose)
    if chosen is None:
        raise RunError(
            "training left no candidate", where="train/candidates.json", todo="Report this as a bug"
        )
    base = trainer.record.base
    loss = None if base is None else base.loss
    return TrainResult(trainer.step, chosen, loss, trainer.record.stopped, reason)
