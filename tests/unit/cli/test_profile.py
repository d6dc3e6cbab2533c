"""`trimtab profile`: a file that `partition` reads elsewhere."""

from trimtab.partition.profiles import read


def test_every_node_has_its_time(trimtab, tmp_path):
    done = trimtab("profile", "zoo:lenet5", "-o", "here.json", "--calls", "3")
    assert done.returncode == 0, done.stderr
    assert "slowest" in done.stdout
    found = read(tmp_path / "here.json")
    assert found.source == "measured"
    assert all(each > 0 for each in found.p50_s)
    assert all(a <= b for a, b in zip(found.p50_s, found.p90_s, strict=True))
    assert found.encode_s["int8"] > 0
    assert found.spread >= 1


def test_a_folder_that_is_not_there_is_refused(trimtab):
    done = trimtab("profile", "zoo:lenet5", "-o", "none/here.json", "--calls", "3")
    assert done.returncode == 1
    assert "folder does not exist" in done.stderr
