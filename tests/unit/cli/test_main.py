import subprocess
import sys

from trimtab._version import __version__


def test_help_imports_neither_torch_nor_tvm():
    code = (
        "import sys\n"
        "from trimtab.cli.main import app\n"
        "try:\n"
        "    app(['--help'], standalone_mode=False)\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'tvm', 'tvm_ffi', 'numpy', 'plotly'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "inspect" in done.stdout


def test_version(trimtab):
    assert trimtab("--version").stdout == f"trimtab {__version__}\n"


def test_a_wrong_command_or_option_is_an_error_not_a_misfit(trimtab):
    for arguments in (("nosuch",), ("inspect",), ("inspect", "zoo:lenet5", "--bad")):
        done = trimtab(*arguments)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "trimtab" in done.stderr
