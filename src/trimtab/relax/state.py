"""The state of an optimizer that holds others, flat, as torch keeps that of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["flattened", "own", "within"]

Parts = Mapping[str, torch.optim.Optimizer]


def flattened(found: dict[str, Any], parts: Parts) -> dict[str, Any]:
    """Return a state with those of other optimizers in it, their keys ``name.key``.

    Args:
        found: of the one that holds them; it is changed.
        parts: by name; over the same groups.
    """
    for name, part in parts.items():
        other = part.state_dict()
        for number, state in other["state"].items():
            found["state"].setdefault(number, {}).update(
                {f"{name}.{key}": value for key, value in state.items()}
            )
        for group, more in zip(
            found["param_groups"], other["param_groups"], strict=True
        ):
            group.update(
                {
                    f"{name}.{key}": value
                    for key, value in more.items()
                    if key != "params"
                }
            )
    return found


def within(given: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the state of the optimizer of that name."""

    def of(mapping: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key.removeprefix(f"{name}."): value
            for key, value in mapping.items()
            if key.startswith(f"{name}.")
        }

    states = {number: of(state) for number, state in given["state"].items()}
    return {
        "state": {number: state for number, state in states.items() if state},
        "param_groups": [
            {"params": group["params"], **of(group)} for group in given["param_groups"]
        ],
    }


def own(given: dict[str, Any], parts: Parts, *, without: set[str]) -> dict[str, Any]:
    """Return the state of the one that holds the others.

    Args:
        given: flat.
        parts: whose keys are left out.
        without: keys that are left out, too.
    """

    def of(mapping: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: value
            for key, value in mapping.items()
            if key.partition(".")[0] not in parts and key not in without
        }

    return {
        "state": {number: of(state) for number, state in given["state"].items()},
        "param_groups": [of(group) for group in given["param_groups"]],
    }
