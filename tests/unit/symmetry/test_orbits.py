"""Orbits: as many values as the mean over the group leaves."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.symmetry.actions import dihedral
from trimtab.symmetry.orbits import channel, moved, orbits, permuted, regular, space
from trimtab.symmetry.schemes import shifts, subgroups

D4 = dihedral()
FAMILY = subgroups("D4", include="all")


@pytest.mark.parametrize("scheme", FAMILY.schemes, ids=lambda each: each.name)
@pytest.mark.parametrize(
    "axes",
    [
        (channel(2), space(3, 3)),
        (channel(2), regular(D4), channel(1), space(3, 3)),
        (channel(2), regular(D4), channel(1), regular(D4)),
        (space(4, 4),),
    ],
    ids=["kernel", "lift", "dense", "image"],
)
def test_orbits_span_what_the_mean_over_the_group_keeps(scheme, axes):
    count = math.prod(axis.places for axis in axes)
    mean = torch.zeros(count, count, dtype=torch.float64)
    for element in scheme.elements:
        mean[torch.from_numpy(moved(D4, element, axes)), torch.arange(count)] += 1.0
    mean /= len(scheme.elements)
    found = torch.from_numpy(orbits(D4, scheme.generators, axes))
    basis = torch.nn.functional.one_hot(found).double()
    projector = basis @ torch.diag(1.0 / basis.sum(0)) @ basis.T
    assert torch.allclose(projector, mean)


def test_slots_share_the_free_weights_of_a_subgroup_evenly():
    axes = (channel(4), regular(D4), channel(3), regular(D4), space(3, 3))
    for scheme in FAMILY.schemes:
        count = int(orbits(D4, scheme.generators, axes).max()) + 1
        assert count == 4 * 8 * 3 * 8 * 9 / len(scheme)


@given(st.integers(2, 12))
def test_a_dense_layer_tied_to_all_shifts_is_circulant(length):
    family = shifts(length)
    axis = permuted("shift", length)
    scheme = family["by 1"]
    found = orbits(family.group, scheme.generators, (axis, axis)).reshape(length, -1)
    assert found.max() + 1 == length
    for row in range(length):
        for column in range(length):
            assert found[row, column] == found[0, (column - row) % length]


def test_without_generators_every_entry_is_its_own():
    assert orbits(D4, (), (space(2, 2),)).tolist() == [0, 1, 2, 3]
