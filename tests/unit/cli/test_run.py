def test_an_absent_run_file_is_one_message(trimtab):
    done = trimtab("run", "none.toml")
    assert done.returncode == 1
    assert "none.toml" in done.stderr
    assert "examples/digits.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_options_beat_the_file(trimtab, tmp_path):
    (tmp_path / "plan.toml").write_text(
        'network = "zoo:nosuch"\nmachine = "milan"\n[inspect]\n'
    )
    done = trimtab("run", "plan.toml", "--network", "zoo:lenet5", "-o", "there")
    assert done.returncode == 0, done.stderr
    assert "61.7 k parameters" in done.stdout
    assert (tmp_path / "there" / "run.trimtab" / "manifest.json").is_file()
    assert (tmp_path / "there" / "report.html").is_file()
