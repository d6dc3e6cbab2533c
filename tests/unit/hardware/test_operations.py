from trimtab.hardware.operations import ARITHMETIC, FREE, LOADS, STORES, Operation


def test_groups_do_not_overlap():
    groups = (ARITHMETIC, FREE, LOADS, STORES)
    assert sum(map(len, groups)) == len(frozenset().union(*groups))


def test_names_are_unlike():
    assert len({str(each) for each in Operation}) == len(Operation)
