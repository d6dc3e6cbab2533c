import base64
import builtins
import hashlib
import html.parser
import json

import pytest

from trimtab.bundle.section import (
    Bars,
    Figure,
    Heatmap,
    Line,
    Section,
    Series,
    Table,
    Waterfall,
)
from trimtab.cost.verdict import Verdict
from trimtab.errors import MissingExtraError, UsageError
from trimtab.report.html import render

HOSTILE = "</script></style><script>alert(1)</script><img src='http://x/y' onload=a>"

VERDICTS = (
    Verdict(name="latency_s", value=0.004, limit=0.005, unit="s"),
    Verdict(name="peak_bytes", value=9 * 2**20, limit=8 * 2**20, unit="bytes"),
    Verdict(name="accuracy_frac", value=0.92, limit=0.9, unit="frac", at_least=True),
)


def _figures(name: str) -> tuple[Figure, ...]:
    return (
        Table(title=name, columns=(name, "n"), units=("", "s"), rows=((name, 0.1),)),
        Series(
            title=name,
            x_title=name,
            y_title=name,
            lines=(
                Line(name=name, x=(1, 2), y=(1, 2), labels=(name, name)),
                Line(name=name + "2", x=(1, 2), y=(2, 1)),
            ),
        ),
        Bars(title=name, value_title=name, labels=(name,), parts=((name, (1.0,)),)),
        Heatmap(
            title=name, x_title=name, y_title=name, value_title=name,
            x=(name,), y=(name,), values=((1.0,),),
        ),
        Waterfall(title=name, value_title=name, steps=(name,), values=(1.0,)),
    )  # fmt: skip


def _section(name="plain", text="", figures=()):
    return Section(name=name, title=name, text=text, figures=figures)


class _Page(html.parser.HTMLParser):
    """What a browser would see: tags with attributes, and contents of scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self.open and self.open[-1] != "style":
            self.text += data


@pytest.fixture
def plotly():
    pytest.importorskip("plotly", reason="plotly is missing: extra `report`")


def _rendered(*sections, verdicts=(), facts=None, title="Run"):
    return _Page(render(title, sections, verdicts, facts or {}, "a laptop"))


def test_nothing_at_all_is_still_a_page_without_scripts():
    page = _rendered()
    assert page.open == []
    assert page.scripts == []
    assert "No stage has written a section" in page.text


def test_tables_alone_need_no_plotly(monkeypatch):
    _without_plotly(monkeypatch)
    table = _figures("plain")[0]
    assert _rendered(_section(figures=(table,))).scripts == []


def _without_plotly(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "plotly":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)


def test_figures_without_plotly_name_the_extra(monkeypatch):
    _without_plotly(monkeypatch)
    with pytest.raises(MissingExtraError, match=r'pip install "trimtab\[report\]"'):
        _rendered(_section(figures=_figures("plain")))


def test_every_kind_is_drawn_with_its_machine(plotly):
    page = _rendered(_section(figures=_figures("plain")))
    assert page.open == []
    assert page.text.count("plaina laptop") == 5  # captions
    specs = [json.loads(text) for attrs, text in page.scripts if "type" in attrs]
    kinds = [spec["data"][0]["type"] for spec in specs]
    assert kinds == ["scatter", "bar", "heatmap", "waterfall"]
    ids = [attrs["id"] for attrs, _ in page.scripts if "type" in attrs]
    assert ids == [
        attrs["data-figure"] for _, attrs in page.tags if "data-figure" in attrs
    ]
    assert len(set(ids)) == 4


def test_plotly_is_embedded_once_and_only_known_scripts_may_run(plotly):
    page = _rendered(_section(figures=_figures("a")), _section(figures=_figures("b")))
    running = [text for attrs, text in page.scripts if "type" not in attrs]
    assert len(running) == 2
    policy = next(
        attrs["content"]
        for tag, attrs in page.tags
        if tag == "meta" and "http-equiv" in attrs
    )
    assert policy is not None
    assert "default-src 'none'" in policy
    for text in running:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_nothing_is_loaded_from_anywhere(plotly):
    page = _rendered(_section(figures=_figures("plain")), verdicts=VERDICTS)
    for tag, attrs in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert not {"src", "srcset", "action", "data"} & set(attrs)
        assert (attrs.get("href") or "#").startswith("#")
    style = render("t", [], [], {}, "m").split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_hostile_names_stay_text(plotly):
    page = _rendered(
        _section(HOSTILE, HOSTILE, _figures(HOSTILE)),
        verdicts=[Verdict(name=HOSTILE, value=1, limit=2, unit=HOSTILE)],
        facts={HOSTILE: HOSTILE},
        title=HOSTILE,
    )
    plain = _rendered(
        _section("plain", "plain", _figures("plain")),
        verdicts=[Verdict(name="plain", value=1, limit=2, unit="plain")],
        facts={"plain": "plain"},
    )
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert page.open == []
    assert HOSTILE in page.text


def test_verdicts_have_value_limit_slack_and_a_word():
    text = _rendered(verdicts=VERDICTS).text
    assert "Does not fit: peak_bytes" in text
    assert "latency_s4.00 msat most 5.00 ms1.00 ms✓ fits" in text
    assert "peak_bytes9.00 MiBat most 8.00 MiB-1.00 MiB✗ does not fit" in text
    assert "accuracy_frac92.0 %at least 90.0 %2.0 %✓ fits" in text
    assert "Fits the limit" in _rendered(verdicts=VERDICTS[:1]).text
    assert "Fits all 2 limits" in _rendered(verdicts=VERDICTS[::2]).text


def test_paragraphs_are_split_on_blank_lines():
    page = render("t", [_section(text="One\nline.\n\n\n Two. ")], [], {}, "m")
    assert "<p>One\nline.</p><p>Two.</p>" in page


def test_contents_lead_to_every_section():
    page = _rendered(_section("a"), _section("b"), verdicts=VERDICTS)
    targets = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    ids = [f"#{attrs['id']}" for tag, attrs in page.tags if tag == "section"]
    assert targets == ids == ["#verdict", "#section-1", "#section-2"]


def test_facts_are_a_list_of_definitions():
    page = render("t", [], [], {"seed": "0", "torch": "2.13"}, "m")
    assert "<dl><dt>seed</dt><dd>0</dd><dt>torch</dt><dd>2.13</dd></dl>" in page


def test_empty_figures_say_so_and_are_not_drawn():
    figures = (
        Table(title="t", columns=("a",), units=("",), rows=()),
        Series(title="t", x_title="x", y_title="y", lines=()),
        Bars(title="t", value_title="v", labels=(), parts=()),
        Heatmap(
            title="t", x_title="x", y_title="y", value_title="v", x=(), y=(), values=()
        ),
        Waterfall(title="t", value_title="v", steps=(), values=()),
    )
    page = _rendered(_section(figures=figures))
    assert page.scripts == []
    assert page.text.count("No values to draw") == 4
    assert page.text.count("No rows") == 1


def test_the_same_arguments_give_the_same_text(plotly):
    arguments = ("t", [_section(figures=_figures("a"))], VERDICTS, {"seed": "0"}, "m")
    assert render(*arguments) == render(*arguments)


def test_a_wrong_figure_is_named():
    wrong = Bars(title="mine", value_title="v", labels=("a",), parts=(("p", ()),))
    with pytest.raises(UsageError, match="figure 'mine'"):
        _rendered(_section(figures=(wrong,)))
