import subprocess
import sys

import trimtab


def test_every_public_name_loads_and_is_listed():
    assert trimtab.__all__ == sorted(trimtab.__all__)
    for name in trimtab.__all__:
        assert getattr(trimtab, name) is not None
    assert set(trimtab.__all__) <= set(dir(trimtab))


def test_importing_the_package_is_light():
    code = (
        "import sys, trimtab; assert not {'torch', 'numpy', 'typer'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(trimtab, "nosuch")
