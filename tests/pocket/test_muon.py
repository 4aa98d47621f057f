"""Muon on many matrices at once is Muon on each of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pocket import muon

SHAPES = ((24, 60), (60, 24), (24, 60), (16, 16), (8, 4, 3, 3), (8, 4, 3, 3), (12, 4, 1, 1))
RATE = 0.02


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, so that only the order of sums can differ."""
    monkeypatch.setattr(muon, "low_dtype", lambda device: torch.float32)


def test_orthogonalised_matrices_have_even_singular_values() -> None:
    values = torch.linalg.svdvals(muon.orthogonalised(torch.randn(3, 24, 60)).float())
    assert values.min() > 0.5 and values.max() < 1.4


def test_matrices_together_change_as_each_alone(exact: None) -> None:
    torch.manual_seed(0)
    model = nn.ParameterList(nn.Parameter(torch.randn(shape)) for shape in SHAPES)
    alone = [p.detach().clone() for p in model]
    momenta = [torch.zeros_like(p) for p in model]
    optimizer = muon.muon(model)
    optimizer.rate.fill_(RATE)
    for _ in range(3):
        for index, p in enumerate(model):
            p.grad = torch.randn_like(p) * 10.0**-index
            step_alone(alone[index], p.grad, momenta[index])
        optimizer.step()
    for p, expected in zip(model, alone, strict=True):
        torch.testing.assert_close(p.detach(), expected, rtol=1e-4, atol=1e-5)


def step_alone(weight: Tensor, gradient: Tensor, momentum: Tensor) -> None:
    """Muon's step of one matrix, by its definition."""
    momentum.mul_(0.95).add_(0.05 * gradient)
    x = (0.05 * gradient + 0.95 * momentum).flatten(1)
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    weight.mul_(1 - RATE * 0.01).sub_(RATE * 0.2 * max(x.shape) ** 0.5 * x.view_as(weight))


def test_vectors_and_outer_layers_change_as_adam_changes_them() -> None:
    torch.manual_seed(0)
    model, other = nn.Linear(4, 3), nn.Linear(4, 3)
    other.load_state_dict(model.state_dict())
    ours = muon.muon(model, ("weight",))
    ours.rate.fill_(RATE)
    theirs = torch.optim.Adam(other.parameters(), lr=RATE, betas=(0.9, 0.98))
    for _ in range(4):
        for a, b in zip(model.parameters(), other.parameters(), strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        ours.step()
        theirs.step()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_what_has_no_gradient_stays() -> None:
    model = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = muon.muon(model)
    optimizer.rate.fill_(RATE)
    model[0](torch.ones(1, 4)).sum().backward()
    optimizer.step()
    changed = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert changed == [True, True, False, False]
