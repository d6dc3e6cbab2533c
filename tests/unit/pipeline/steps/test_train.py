import pytest
import torch

from trimtab.errors import PlanError
from trimtab.pipeline.steps.train import STAGE
from trimtab.training.data import Dataset
from trimtab.training.loop import Settings


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 1, 8, 8, generator=generator)
    y = torch.arange(60) % 3
    x[torch.arange(60), 0, y] += 3.0
    return Dataset(
        name="bars",
        train=(x[:45], y[:45]),
        test=(x[45:], y[45:]),
        classes=3,
    )


def test_a_copy_is_trained(context, data):
    given = context(data=data)
    before = {key: each.clone() for key, each in given.network.state_dict().items()}
    result = STAGE.run(given, Settings(epochs=2, batch_size=15))
    assert result.network is not given.network
    assert not result.network.training
    for key, each in given.network.state_dict().items():
        assert torch.equal(each, before[key])
    assert any(
        not torch.equal(each, before[key])
        for key, each in result.network.state_dict().items()
    )
    assert set(result.values) == {"accuracy_frac"}
    assert result.observed["training"]["wall_s"] > 0


def test_the_runs_seed_is_used_where_the_table_has_none(context, data):
    def weights(**settings):
        result = STAGE.run(
            context(data=data, seed=5), Settings(epochs=1, batch_size=7, **settings)
        )
        return torch.cat([each.flatten() for each in result.network.parameters()])

    assert torch.equal(weights(), weights(seed=5))
    assert not torch.equal(weights(), weights(seed=6))


def test_without_data_it_says_what_to_add(context):
    with pytest.raises(PlanError, match='data = "digits"'):
        STAGE.run(context(), Settings())
