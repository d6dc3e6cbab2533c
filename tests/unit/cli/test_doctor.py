"""`trimtab doctor`, as typed."""

import json

from trimtab.pipeline import doctor


def test_it_names_what_is_missing_and_how_to_get_it(trimtab):
    done = trimtab("doctor")
    assert done.returncode == 0, done.stderr
    for said in ("Python", "extra compile", "trimtab machine calibrate", "works here"):
        assert said in done.stdout, said
    record = json.loads(trimtab("doctor", "--json").stdout)
    assert record["works"]
    states = {each["name"]: each["state"] for each in record["findings"]}
    assert (states["packages"], states["calibration"]) == ("ok", "missing")


def test_where_nothing_works_it_ends_with_1(trimtab, monkeypatch):
    broken = doctor.Finding(
        name="packages", state="missing", detail="absent: torch", purpose="everything",
        remedy="pip install 'trimtab[serve]'", required=True,
    )  # fmt: skip
    monkeypatch.setattr(doctor, "examine", lambda: [broken])
    done = trimtab("doctor")
    assert done.returncode == 1
    assert "cannot work here without: packages" in done.stdout
    assert "packages: pip install 'trimtab[serve]'" in done.stdout
    assert json.loads(trimtab("doctor", "--json").stdout)["works"] is False
