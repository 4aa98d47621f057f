"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before each step.

It needs markedly fewer samples than AdamW at these sizes (figures in ``README.md``). Convolutions
count as matrices of outputs by the rest; vectors are left to AdamW in the same optimizer.
"""

import torch
from torch import Tensor, nn

from .training import low_dtype

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix with its singular values near 1, bfloat16 where the machine is quick with it.

    Args:
        matrix: Any shape (M, N).

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
    """
    a, b, c = NEWTON_SCHULZ
    x = matrix.to(low_dtype(matrix.device))
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    x = x / (x.norm() + 1e-7)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Muon for matrices and convolutions, AdamW for the groups marked ``is_adam``.

    Args:
        groups: Parameter groups with ``params`` and ``is_adam``.
        momentum: Decay of the momentum of matrices.
        betas: Decays of AdamW.
        weight_decay: Of matrices only.
    """

    def __init__(
        self,
        groups: list[dict],
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(
            groups, {"lr": 0.0, "momentum": momentum, "betas": betas, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                (self._adam_step if group["is_adam"] else self._muon_step)(parameter, group)

    def _muon_step(self, parameter: nn.Parameter, group: dict) -> None:
        state = self.state[parameter]
        momentum = state.setdefault("momentum", torch.zeros_like(parameter))
        momentum.lerp_(parameter.grad, 1 - group["momentum"])
        ahead = parameter.grad.lerp(momentum, group["momentum"]).flatten(1)
        scale = 0.2 * max(ahead.shape) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(orthogonalised(ahead).view_as(parameter), alpha=-group["lr"] * scale)

    def _adam_step(self, parameter: nn.Parameter, group: dict) -> None:
        state = self.state[parameter]
        if not state:
            state.update(count=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["count"] += 1
        beta_mean, beta_square = group["betas"]
        state["mean"].lerp_(parameter.grad, 1 - beta_mean)
        state["square"].lerp_(parameter.grad.square(), 1 - beta_square)
        mean = state["mean"] / (1 - beta_mean ** state["count"])
        square = state["square"] / (1 - beta_square ** state["count"])
        parameter.addcdiv_(mean, square.sqrt().add_(1e-8), value=-group["lr"])


def muon(model: nn.Module, not_matrices: tuple[str, ...] = ()) -> Muon:
    """The optimizer of a model.

    Args:
        model: Its parameters that require a gradient train.
        not_matrices: Beginnings of names of weights that AdamW trains, such as the outer layers.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    adam = [p for name, p in named if p.ndim < 2 or name.startswith(not_matrices)]
    matrices = [p for name, p in named if p.ndim >= 2 and not name.startswith(not_matrices)]
    return Muon([{"params": matrices, "is_adam": False}, {"params": adam, "is_adam": True}])
