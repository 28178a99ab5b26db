"""The planner: evaluates the branches that a step needs, in as few network calls as pay off."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from melies.interfaces import Branch, Condition

CPU_ROWS = 32
"""Rows up to which one joint call beats one call per branch on a CPU.

Measured on two cores with `machine.keep_freed_memory`: of two branches a joint call saved, with a
UNet and a transformer, 34 % and 22 % of the time at 1 sample, 20 % and 13 % at 4, 9 % and 5 % at 8,
2 % and 5 % at 16; at 32 it lost 3 % and 1 %. A GPU always gets the joint call.
"""


class Planner:
    """The branches of one run, and what their evaluation has cost so far."""

    def __init__(self, branches: Mapping[str, Branch]) -> None:
        """Hold the branches; nothing is evaluated yet."""
        self.branches = dict(branches)
        self.network_calls = 0
        """Calls of a denoiser."""
        self.rows = 0
        """Samples that went through them: the cost that does not depend on how calls are grouped."""
        self._joined: dict[tuple[str, ...], Condition] = {}
        self._grouped: dict[tuple[str | bool, ...], list[tuple[str, ...]]] = {}

    def evaluate(self, names: Sequence[str], x: Tensor, sigma: Tensor) -> dict[str, Tensor]:
        """Predictions of x0 by the named branches at x (b, …) and sigma (b,), each (b, …)."""
        predictions: dict[str, Tensor] = {}
        for group in self._groups(names, x):
            first = self.branches[group[0]]
            together = first.denoiser(
                torch.cat([x] * len(group)) if len(group) > 1 else x,
                sigma.repeat(len(group)) if len(group) > 1 else sigma,
                self._condition(group),
                attention=first.attention,
            )
            self.network_calls += 1
            self.rows += len(together)
            predictions |= dict(zip(group, together.split(len(x)), strict=True))
        return {name: predictions[name] for name in names}

    def _groups(self, names: Sequence[str], x: Tensor) -> list[tuple[str, ...]]:
        """The names, those that share a denoiser together where a joint call is quicker."""
        small = x.device.type != "cpu" or len(x) * len(names) <= CPU_ROWS
        if (*names, small) not in self._grouped:  # the same at every step of a run
            self._grouped[*names, small] = self._group(names, small)
        return self._grouped[*names, small]

    def _group(self, names: Sequence[str], small: bool) -> list[tuple[str, ...]]:
        groups: dict[object, tuple[str, ...]] = {}
        for name in names:
            denoiser, condition, attention = self.branches[name]
            parts = frozenset(key for key in condition if not key.startswith("present."))
            # An attention edit may count on its own rows, so its branch goes alone.
            key = (id(denoiser), parts) if small and attention is None else name
            groups[key] = (*groups.get(key, ()), name)
        return list(groups.values())

    def _condition(self, group: tuple[str, ...]) -> Condition:
        if len(group) == 1:
            return self.branches[group[0]].condition
        if group not in self._joined:  # conditions do not change during a run
            self._joined[group] = join([self.branches[name].condition for name in group])
        return self._joined[group]


def join(conditions: Sequence[Condition]) -> dict[str, Tensor]:
    """Several conditions with the same parts as one batch, in their order.

    Token rows of different lengths are padded with zeros that `"<name>_valid"` marks as not real;
    where one condition says `"present.<name>"` and another does not, the other counts as present.

    Raises:
        ValueError: If the conditions have different parts, or shapes that padding cannot mend.
    """
    keys = list(dict.fromkeys(key for condition in conditions for key in condition))
    return {key: _join_part(key, conditions) for key in keys}


def _join_part(key: str, conditions: Sequence[Condition]) -> Tensor:
    if key.startswith("present."):
        parts = [
            condition[key] if key in condition else _everywhere_present(condition, key)
            for condition in conditions
        ]
        return torch.cat(parts)
    missing = [i for i, condition in enumerate(conditions) if key not in condition]
    if missing:
        raise ValueError(f"condition {missing[0]} has no {key!r}, another has")
    parts = [condition[key] for condition in conditions]
    if len({part.shape[1:] for part in parts}) > 1:
        if f"{key.removesuffix('_valid').split('_')[0]}_valid" not in conditions[0]:
            raise ValueError(f"{key!r} differs in shape and has no mask: {[tuple(p.shape) for p in parts]}")
        length = max(part.shape[1] for part in parts)
        parts = [F.pad(part, [0, 0] * (part.ndim - 2) + [0, length - part.shape[1]]) for part in parts]
    return torch.cat(parts)


def _everywhere_present(condition: Condition, key: str) -> Tensor:
    part = next(value for value in condition.values())
    return torch.ones(len(part), dtype=torch.bool, device=part.device)
