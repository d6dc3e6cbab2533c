"""Networks that workers can serve: modules, bundles with compiled code, no others."""

import pytest
import torch
from tests.unit.partition.test_step import PLAN

from trimtab.errors import UsageError
from trimtab.pipeline.serving import open_model


def test_a_module_of_the_zoo_is_served_in_batches():
    model = open_model("zoo:lenet5")
    assert [each.shape for each in model.inputs] == [(1, 32, 32)]
    assert [each.shape for each in model.outputs] == [(10,)]
    assert model.call(model.drawn(5))[0].shape == (5, 10)
    assert model.module is not None


def test_a_bundle_takes_compiled_code(trimtab, tmp_path):
    text = PLAN[: PLAN.index("[partition]")]
    (tmp_path / "plain.toml").write_text(text + "[inspect]\n")
    done = trimtab("run", "plain.toml")
    assert done.returncode == 0, done.stderr
    with pytest.raises(UsageError, match="one batch size alone"):
        open_model(str(tmp_path / "out" / "small.trimtab"))


def test_compiled_code_is_served_in_batches(trimtab, tmp_path):
    pytest.importorskip("tvm", reason="the extra compile is not installed")
    text = PLAN[: PLAN.index("[partition]")].replace("turin", "this")
    (tmp_path / "plan.toml").write_text(text + "[compile]\nbatch_sizes = [1, 4]\n")
    done = trimtab("run", "plan.toml")
    assert done.returncode == 0, done.stderr
    model = open_model(str(tmp_path / "out" / "small.trimtab"))
    assert model.module is None
    x = torch.randn(7, 1, 32, 32)
    (found,) = model.call([x])
    alone = torch.cat([model.call([each[None]])[0] for each in x])
    assert torch.allclose(found, alone, atol=1e-5)


def test_ids_of_the_zoo_have_the_bounds_of_their_own_tables():
    # Without, an id beyond its table would read the next one, silently.
    model = open_model("zoo:wnd-small")
    dense, ids = model.inputs
    assert dense.bounds is None
    assert ids.bounds is not None
    assert len(ids.bounds) == ids.shape[0]
    drawn = model.drawn(50)[1]
    assert bool((drawn < torch.tensor(ids.bounds).view(-1, 1)).all())
