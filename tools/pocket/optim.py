"""Muon: orthogonalised Nesterov momentum for matrices and convolutions, Adam for every other parameter.

After Keller Jordan's https://kellerjordan.github.io/posts/muon. At this size it converges by far the fastest.
"""

from collections.abc import Collection, Iterable

import torch
from torch import Tensor


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Approximately the nearest semi-orthogonal matrices of [N, rows, columns], by Newton-Schulz iteration.

    Every iterate is a polynomial of the first Gram matrix times the matrix. So the iteration runs on the Gram matrices,
    which are small where a matrix is wide, and the matrices are multiplied once.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    gram, one = x @ x.mT, torch.eye(x.shape[-2], dtype=x.dtype, device=x.device)
    total = one.expand_as(gram)
    for left in reversed(range(iterations)):
        factor = a * one + (b * one + c * gram) @ gram
        total = factor @ total
        if left:
            gram = factor @ gram @ factor
    x = total @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon with learning rate `lr` for weights of two and more dimensions, Adam with `adam_lr` for the rest.

    adam_only: parameters for Adam whatever their shape (first and last layers train better with it). every: matrices
    move once in so many steps, along the momentum of them all: orthogonalising can cost as much as a forward pass.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        adam_lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        adam_only: Collection[Tensor] = (),
        every: int = 1,
    ) -> None:
        self._every, self._steps = every, 0
        excluded = {id(p) for p in adam_only}
        matrices, others = [], []
        for p in parameters:
            is_matrix = p.ndim >= 2 and id(p) not in excluded and min(p.shape[0], p[0].numel()) > 8
            (matrices if is_matrix else others).append(p)
        groups = [
            {"params": matrices, "lr": lr, "muon": True, "momentum": momentum, "weight_decay": weight_decay},
            {"params": others, "lr": adam_lr, "muon": False, "betas": (0.9, 0.95)},
        ]
        super().__init__([{**group, "base_lr": group["lr"]} for group in groups], {})

    def scale_lr(self, factor: float) -> None:
        """Sets every learning rate to `factor` times its base."""
        for group in self.param_groups:
            group["lr"] = group["base_lr"] * factor

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One update of all parameters that have a gradient."""
        self._steps += 1
        for group in self.param_groups:
            (self._muon if group["muon"] else self._adam)(group)

    def _muon(self, group: dict) -> None:
        by_shape: dict[tuple[int, ...], list[Tensor]] = {}
        for p in group["params"]:
            if p.grad is not None:
                by_shape.setdefault((p.shape[0], p[0].numel()), []).append(p)
        for (rows, columns), parameters in by_shape.items():
            updates = []
            for p in parameters:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 1 - group["momentum"])
                updates.append(p.grad.lerp(momentum, group["momentum"]).reshape(rows, columns))
            if self._steps % self._every:
                continue
            step = -group["lr"] * max(1, rows / columns) ** 0.5
            for p, update in zip(parameters, orthogonalise(torch.stack(updates)), strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.view(p.shape), alpha=step)

    def _adam(self, group: dict) -> None:
        beta1, beta2 = group["betas"]
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            mean = state.setdefault("mean", torch.zeros_like(p)).lerp_(p.grad, 1 - beta1)
            square = state.setdefault("square", torch.zeros_like(p)).lerp_(p.grad * p.grad, 1 - beta2)
            state["count"] = count = state.get("count", 0) + 1
            scale = (square / (1 - beta2**count)).sqrt_().add_(1e-8)
            p.addcdiv_(mean / (1 - beta1**count), scale, value=-group["lr"])
