"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before each step.

It needs markedly fewer samples than AdamW at these sizes (figures in ``README.md``). Convolutions
count as matrices of outputs by the rest; vectors are left to Adam in the same optimizer. Matrices of
one shape are worked on together.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .device import low_dtype

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5
ADAM_EPS = 1e-8


def orthogonalised(matrices: Tensor) -> Tensor:
    """Matrices with their singular values near 1, bfloat16 where the machine is quick with it.

    Args:
        matrices: Any shape (num, M, N).

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
    """
    a, b, c = NEWTON_SCHULZ
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.to(low_dtype(matrices.device))
    x = x.mT if is_tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x


class Muon(torch.optim.Optimizer):
    """Muon for matrices and convolutions, Adam for the groups marked ``is_adam``.

    The learning rate is ``rate``, a tensor beside the parameters: a step that was recorded reads it there.

    Args:
        groups: Parameter groups with ``params`` and ``is_adam``.
        momentum: Decay of the momentum of matrices.
        betas: Decays of Adam.
        weight_decay: Of matrices only.
    """

    def __init__(
        self,
        groups: list[dict],
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(groups, {"momentum": momentum, "betas": betas, "weight_decay": weight_decay})
        device = next(p.device for group in self.param_groups for p in group["params"])
        self.rate = torch.zeros((), device=device)

    @torch.no_grad()
    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            if group["is_adam"]:
                self._adam_step(parameters, group["betas"])
            else:
                self._muon_step(parameters, group["momentum"], group["weight_decay"])

    def _muon_step(self, parameters: list[nn.Parameter], momentum: float, weight_decay: float) -> None:
        gradients, momenta = [p.grad for p in parameters], self._states(parameters, "momentum")
        torch._foreach_lerp_(momenta, gradients, 1 - momentum)
        ahead = torch._foreach_lerp(gradients, momenta, momentum)
        torch._foreach_mul_(parameters, 1 - self.rate * weight_decay)
        for alike in _by_shape(ahead):
            matrices = torch.stack([ahead[i].flatten(1) for i in alike])
            length = -self.rate * 0.2 * max(matrices.shape[1:]) ** 0.5
            changes = orthogonalised(matrices).float() * length
            changed = [parameters[i] for i in alike]
            torch._foreach_add_(changed, [part.view_as(p) for part, p in zip(changes, changed, strict=True)])

    def _adam_step(self, parameters: list[nn.Parameter], betas: tuple[float, float]) -> None:
        counts = self._states(parameters, "count", lambda p: torch.zeros((), device=p.device))
        torch._foreach_add_(counts, 1)
        torch._fused_adam_(
            parameters,
            [p.grad for p in parameters],
            self._states(parameters, "mean"),
            self._states(parameters, "square"),
            [],
            counts,
            lr=self.rate,
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=0.0,
            eps=ADAM_EPS,
            amsgrad=False,
            maximize=False,
        )

    def _states(
        self,
        parameters: list[nn.Parameter],
        name: str,
        start: Callable[[Tensor], Tensor] = torch.zeros_like,
    ) -> list[Tensor]:
        for p in parameters:
            if name not in self.state[p]:
                self.state[p][name] = start(p)
        return [self.state[p][name] for p in parameters]


def _by_shape(tensors: list[Tensor]) -> list[list[int]]:
    """Numbers of the tensors that are the same matrices in shape."""
    alike: dict[tuple[int, int], list[int]] = {}
    for number, tensor in enumerate(tensors):
        alike.setdefault((len(tensor), tensor[0].numel()), []).append(number)
    return list(alike.values())


def muon(model: nn.Module, not_matrices: tuple[str, ...] = ()) -> Muon:
    """The optimizer of a model that is on its device.

    Args:
        model: Its parameters that require a gradient train.
        not_matrices: Beginnings of names of weights that Adam trains, such as the outer layers.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    adam = [p for name, p in named if p.ndim < 2 or name.startswith(not_matrices)]
    matrices = [p for name, p in named if p.ndim >= 2 and not name.startswith(not_matrices)]
    groups = [{"params": matrices, "is_adam": False}, {"params": adam, "is_adam": True}]
    return Muon([group for group in groups if group["params"]])
