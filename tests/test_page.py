"""A page stands alone, escapes what it is given and can be used without a mouse."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from competition.page import LONG_TABLE, PALETTE, Section, figure, picture, render_page, table
from tests.browser import browser, needs_browser  # noqa: F401
from tests.conftest import REPOSITORY

EVIL = "<script>alert(1)</script> & \"quoted\" 'too'"
PNG = b"\x89PNG\r\n\x1a\nnot really"


class Tags(HTMLParser):
    """Collects every tag with its attributes, and the text outside scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.inside = [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        self.text += "" if self.inside in ("script", "style") else data

    def named(self, wanted):
        return [attributes for tag, attributes in self.tags if tag == wanted]


def test_sections_have_their_headings_and_the_navigation_reaches_them():
    page = Tags(render_page("Title", [Section("One", "<p>first</p>", "one"), Section("Two", "", "two")], "below"))
    links = [link["href"] for link in page.named("a")]
    assert links == ["#content", "#one", "#two"]
    assert {link[1:] for link in links} <= {attributes.get("id") for _, attributes in page.tags}
    assert all(word in page.text for word in ("Title", "below", "One", "Two", "first"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: render_page(EVIL, []),
        lambda: render_page("x", [], EVIL),
        lambda: render_page("x", [Section(EVIL, "", "a")]),
        lambda: table([EVIL], [["x"]]),
        lambda: table(["x"], [[EVIL]]),
        lambda: table(["x"], [["x"]], EVIL),
        lambda: picture(PNG, EVIL),
        lambda: picture(PNG, "x", EVIL),
    ],
)
def test_names_are_escaped(make):
    made = make()
    assert "alert(1)" in made
    assert "<script>alert(1)" not in made
    assert not [attributes for _, attributes in Tags(made).tags if any("quoted" in name for name in attributes)]


def test_nothing_is_fetched():
    page = render_page("x", [Section("a", picture(PNG, "a picture") + table(["a"], [[1]]), "a")])
    sources = [
        value for _, attributes in Tags(page).tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert sources
    assert all(value.startswith(("data:", "#")) for value in sources)
    assert not re.findall(r"url\((?!data:)|@import|https?://", page)
    policy = next(item["content"] for item in Tags(page).named("meta") if "http-equiv" in item)
    assert policy.startswith("default-src 'none'")
    assert "form-action 'none'" in policy  # not part of default-src: a chart could send itself away


def test_numbers_sort_as_numbers_and_are_shown_short():
    tags = Tags(table(["n"], [[1234567], [0.123456], [None], ["word"], [float("nan")], [True], [1e-7]]))
    cells = tags.named("td")
    assert [cell.get("data-sort") for cell in cells] == ["1234567", "0.123456", None, None, None, None, "1e-07"]
    assert all(text in tags.text for text in ("1,234,567", "0.1235", "word", "nan", "True", "1e-07"))


def test_a_heading_stands_over_its_numbers():
    tags = Tags(table(["word", "number", "empty"], [["a", None, None], ["b", 2, None]]))
    assert [item.get("class") for item in tags.named("th")] == [None, "number", None]


@pytest.mark.parametrize(("rows", "has_filter"), [(LONG_TABLE - 1, False), (LONG_TABLE, True)])
def test_a_long_table_has_a_filter(rows, has_filter):
    assert ("search" in [item.get("type") for item in Tags(table(["a"], [[1]] * rows)).named("input")]) == has_filter


def test_headings_and_pictures_are_buttons_for_the_keyboard():
    tags = Tags(table(["a", "b"], [[1, 2]]) + picture(PNG, "a cat", "caption"))
    assert len(tags.named("button")) == 3
    assert tags.named("img")[0]["alt"] == "a cat"
    assert "caption" in tags.text


def test_a_chart_cannot_end_its_script_and_brings_plotly_once():
    go = pytest.importorskip("plotly.graph_objects")
    html = figure(go.Figure(go.Scatter(x=[1], y=[2], name="</script><b>")), EVIL)
    assert html.count("</script>") == 1
    one = render_page("x", [Section("a", html, "a")])
    two = render_page("x", [Section("a", html + html, "a")])
    assert 4e6 < len(one.encode()) < 6e6
    assert len(two) - len(one) == len(html)
    assert len(render_page("x", [Section("a", "", "a")])) < 20_000


def test_a_wide_chart_shrinks_on_a_phone_and_no_further():
    go = pytest.importorskip("plotly.graph_objects")
    assert "max-width: 1360px; min-width: 1020px" in figure(go.Figure(layout={"width": 1360}), "x")
    assert "max-width" not in figure(go.Figure(), "x")


def test_the_palette_is_okabe_and_ito_s():
    assert len(set(PALETTE)) == 7
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in PALETTE)


@needs_browser
@pytest.mark.parametrize("width", [1200, 400])
def test_a_long_word_breaks_in_its_cell_and_a_short_one_does_not(browser, tmp_path, width):  # noqa: F811
    rows = [["x" * 60, 0.5, "folder/with/" * 6 + "a_name.png", "photograph"]]
    html = table(["class", "macro F1", "image", "kind"], rows)
    (tmp_path / "page.html").write_text(render_page("x", [Section("x", html, "x")]))
    browser.resize(width, 900)
    browser.open((tmp_path / "page.html").as_uri())
    cells = "[...document.querySelectorAll('td')]"
    assert browser.run(f"return {cells}.every(cell => cell.scrollWidth <= cell.clientWidth)")
    number, word = browser.run(f"return [{cells}[1], {cells}[3]].map(cell => cell.firstChild).map(text => {{"
                               "const all = document.createRange(); all.selectNode(text);"
                               "return all.getClientRects().length; })")  # fmt: skip
    assert number == word == 1  # line


def test_importing_it_loads_nothing_heavy():
    code = "import sys, competition.page; print({'jinja2', 'plotly', 'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
