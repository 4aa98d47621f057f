"""Steps: word by word, from tensors that stay, recorded; all of them learn the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pocket.muon import muon
from pocket.stepping import EagerStep, GraphStep, StaticStep, choose_step, compile_ahead
from pocket.trainee import Trainee

NUM_STEPS = 8


@pytest.fixture
def no_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GraphStep, "beside_the_main_stream", lambda self: nullcontext())


def test_static_step_learns_as_the_eager_one_does(tmp_path: Path) -> None:
    eager, static = learnt(EagerStep, tmp_path / "a"), learnt(StaticStep, tmp_path / "b")
    for name in eager:
        torch.testing.assert_close(static[name], eager[name])


def test_static_step_never_reads_a_batch_it_was_given_before(tmp_path: Path) -> None:
    trainee = tiny_trainee(tmp_path)
    step = StaticStep(trainee, loss_of(trainee))
    batch = (torch.zeros(4, 6),)
    places = [step(batch) and step.static[0].data_ptr() for _ in range(3)]
    assert len(set(places)) == 1 and places[0] != batch[0].data_ptr()


def test_recorded_step_warms_up_and_learns_as_the_eager_one_does(
    tmp_path: Path, no_streams: None, capsys: pytest.CaptureFixture
) -> None:
    replays = []

    class Recorded(GraphStep):
        def record(self) -> Callable[..., Any]:
            def replay() -> Tensor:
                replays.append(self.num_done)
                return StaticStep.learn(self)

            return replay

    eager, recorded = learnt(EagerStep, tmp_path / "a"), learnt(Recorded, tmp_path / "b")
    assert replays == list(range(4, NUM_STEPS + 1))
    assert all(torch.equal(eager[name], recorded[name]) for name in eager)
    assert capsys.readouterr().out.count("the step is a CUDA graph") == 1


def test_where_recording_fails_every_step_is_done_and_a_line_says_why(
    tmp_path: Path, no_streams: None, capsys: pytest.CaptureFixture
) -> None:
    class Refused(GraphStep):
        def record(self) -> None:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

    eager, refused = learnt(EagerStep, tmp_path / "a"), learnt(Refused, tmp_path / "b")
    assert all(torch.equal(eager[name], refused[name]) for name in eager)
    said = capsys.readouterr().out
    assert said.count("no CUDA graph") == 1 and "not permitted when stream is capturing" in said


def test_a_cpu_steps_word_by_word(tmp_path: Path) -> None:
    trainee = tiny_trainee(tmp_path)
    assert type(choose_step(trainee, loss_of(trainee))) is EagerStep


def test_what_cannot_be_compiled_trains_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ImportError("no compiler found")

    trainee = tiny_trainee(tmp_path / "unet")
    monkeypatch.setattr(nn.Module, "compile", lambda self: setattr(self, "_compiled_call_impl", refuse))
    compile_ahead(trainee, [trainee.model], loss_of(trainee), (torch.ones(4, 6),))
    assert "unet: not compiled (ImportError: no compiler found)" in capsys.readouterr().out
    assert EagerStep(trainee, loss_of(trainee))((torch.ones(4, 6),)) > 0


def test_compiling_leaves_weights_and_gradients_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainee = tiny_trainee(tmp_path)
    before = {name: part.clone() for name, part in trainee.model.state_dict().items()}
    monkeypatch.setattr(nn.Module, "compile", lambda self: None)
    trainee.model.eval()  # as a model comes that was loaded
    compile_ahead(trainee, [trainee.model[0]], loss_of(trainee), (torch.ones(4, 6),))
    assert trainee.model.training
    assert all(torch.equal(before[name], part) for name, part in trainee.model.state_dict().items())
    assert all(p.grad is None for p in trainee.model.parameters())


def test_average_moves_fast_at_first_and_never_faster_than_its_decay(tmp_path: Path) -> None:
    trainee = tiny_trainee(tmp_path)
    shares = []
    for trainee.step in (0, 10, 10_000):
        trainee.set_step_numbers(0.1)
        shares.append(trainee.ema_share.item())
    assert shares == pytest.approx([1 - 2 / 11, 1 - 12 / 21, 0.1])
    trainee.model[0].bias.data.add_(1.0)
    before = trainee.ema[0].bias.clone()
    trainee.update_ema()
    torch.testing.assert_close(trainee.ema[0].bias, before + 0.1)


def tiny_trainee(folder: Path) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6))
    return Trainee(folder, model, muon(model), 0.9)


def loss_of(trainee: Trainee) -> Callable[..., Any]:
    return lambda inputs: (trainee.model(inputs) - inputs.flip(1)).square().mean()


def learnt(kind: type[EagerStep], folder: Path) -> dict[str, Tensor]:
    trainee = tiny_trainee(folder)
    step = kind(trainee, loss_of(trainee))
    for number in range(NUM_STEPS):
        trainee.set_step_numbers(0.01)
        step((torch.randn(4, 6, generator=torch.Generator().manual_seed(number)),))
        trainee.step += 1
    parts = {"model": trainee.model, "ema": trainee.ema}
    return {f"{a}.{b}": value for a, part in parts.items() for b, value in part.state_dict().items()}
