from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.layout import row_major
from trimtab.compiler.spaces.elementwise import Elementwise
from trimtab.compiler.spaces.streams import asked


def test_each_byte_once_and_the_arithmetic() -> None:
    shape = (4, 30)
    formula = IDENTITY.then(lambda x: x * 2.0)
    work = Elementwise(
        output=row_major(shape), formula=formula, operands=(row_major(shape),)
    )
    nest = asked(work, (), lanes=8)
    (part,) = nest.parts
    assert part.body.others == 4 * 30 / 8
    assert part.body.loads == part.body.stores == 4 * 30 / 8
    assert [each.limit for each in nest.accesses] == [(480,), (480,)]
    assert [each.written for each in nest.accesses] == [False, True]
