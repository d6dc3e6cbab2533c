"""What a report shows of a posterior."""

from typing import Any

import torch
from tests.unit.symmetry.test_posterior import VALUES, posterior

from trimtab.symmetry.network import retie
from trimtab.symmetry.sections import change_by_angle, posterior_section


def test_it_shows_findings_schemes_and_angles():
    found = posterior(VALUES)
    section = posterior_section(found, torch.randn(6, 1, 8, 8))
    figures: Any = section.figures
    findings, schemes, angles = figures
    assert [row[0] for row in findings.rows] == ["rot180", "hflip", "vflip"]
    assert len(schemes.rows) == 5
    assert [line.name for line in angles.lines] == ["hflip", "none"]
    assert "holds: left and right exchanged (+10 nats" in section.text
    assert len(posterior_section(found, torch.randn(6, 1, 8)).figures) == 2


def test_predictions_do_not_change_at_angles_of_the_scheme():
    found = posterior(VALUES)
    network = found.judged[4].members[0].network
    whole = retie(network, network.family["C2"], seed=0).eval()
    points = dict(change_by_angle(whole, torch.randn(20, 1, 8, 8)))
    assert points[0.0] == points[180.0] == points[360.0] == 0.0
    assert len(points) == 25
