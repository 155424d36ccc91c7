"""Whatever is not markup is text."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from interlock.web.html import join, tag


class Seen(HTMLParser):
    """What a browser would find."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: list[str | None] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(st.characters(exclude_characters="\r\x00", codec="utf-8")))
def test_text_stays_text(text: str) -> None:
    """As a child and as a value."""
    seen = Seen(tag("p", "(", text, ")", title=text))
    assert seen.tags == ["p"]
    assert seen.text == f"({text})"
    assert seen.values == [text]


def test_attributes_are_said_as_html_says_them() -> None:
    """Names with dashes, what is on or off, what is left out; elements without an end."""
    assert tag("input", type="text", data_x="1", class_="a", required=True, hidden=False, id=None) == (
        '<input type="text" data-x="1" class="a" required>'
    )
    assert join("a & b", tag("br"), None, tag("b", tag("i", "<"))) == "a &amp; b<br><b><i>&lt;</i></b>"
