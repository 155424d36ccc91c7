"""The picture of the results: well-formed, all of them in it, nothing outside of its frame."""

import re
from xml.etree import ElementTree as ET

import pytest
from bench.plot import PANELS, STYLE, caption, draw
from bench.results import Results

SVG = "{http://www.w3.org/2000/svg}"
TITLE = dict(PANELS)


def results(*ways: str, spread: float = 1.0) -> Results:
    """Three values for every panel, way by way larger."""
    made = Results()
    for name, _ in PANELS:
        for number, way in enumerate(ways, start=1):
            for factor in (0.9, 1.0, 1.1 * spread):
                made.add(name, way, 100.0 * number * factor)
    return made


def drawn(made: Results, *others: str) -> ET.Element:
    """The picture, parsed."""
    return ET.fromstring(draw(made.summary(), "a <caption> & more", others))


def texts(picture: ET.Element) -> list[str]:
    """All that is written in it."""
    return [element.text or "" for element in picture.iter(f"{SVG}text")]


def test_every_panel_has_its_title_and_medians() -> None:
    """Each figure is there, with the number of each way."""
    shown = texts(drawn(results("direct", "jump", "interlock")))
    for title in TITLE.values():
        assert title in shown
    assert [shown.count(median) for median in ("100", "200", "300")] == [len(PANELS)] * 3


def test_caption_is_escaped() -> None:
    """Whatever a caption says, the picture stays well-formed."""
    assert "a <caption> & more" in texts(drawn(results("direct")))


def test_bars_are_as_long_as_their_medians() -> None:
    """Twice as much is twice as long, from zero on."""
    picture = drawn(results("direct", "jump", "interlock"))
    lengths = [float(each.get("width", 0)) for each in picture.iter(f"{SVG}rect")][3:]  # after the legend
    for first in range(0, len(lengths), 3):
        direct, jump, ours = lengths[first : first + 3]
        assert jump == pytest.approx(2 * direct, abs=0.2)
        assert ours == pytest.approx(3 * direct, abs=0.2)


def test_other_relays_have_a_bar_and_a_legend() -> None:
    """What --peer measures is in the picture too."""
    picture = drawn(results("direct", "jump", "interlock", "warpgate"), "warpgate")
    assert "warpgate" in texts(picture)
    assert texts(picture).count("400") == len(PANELS)


def test_what_was_not_measured_has_no_panel() -> None:
    """A panel without bars would look like zero."""
    made = Results()
    made.add("setup_ms", "interlock", 120.0)
    shown = texts(drawn(made))
    assert TITLE["setup_ms"] in shown
    assert TITLE["sftp_get_mb_s"] not in shown


@pytest.mark.parametrize("spread", [1.0, 50.0])
def test_nothing_is_outside_of_the_frame(spread: float) -> None:
    """Not even when one round took fifty times as long."""
    picture = drawn(results("direct", "jump", "interlock", spread=spread))
    width, height = float(picture.get("width", 0)), float(picture.get("height", 0))
    for bar in picture.iter(f"{SVG}rect"):
        assert float(bar.get("x", 0)) + float(bar.get("width", 0)) <= width
        assert float(bar.get("y", 0)) + float(bar.get("height", 0)) <= height
    for line in picture.iter(f"{SVG}line"):
        assert 0 <= float(line.get("x1", -1)) <= float(line.get("x2", -1)) <= width


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_plain_text_is_readable_on_white_and_on_black() -> None:
    """A viewer that ignores media queries shows readable text on either."""
    match = re.search(r"text \{[^}]*fill: (#[0-9a-f]{6})", STYLE)
    assert match
    grey = luminance(match.group(1))
    assert 1.05 / (grey + 0.05) >= 4.5
    assert (grey + 0.05) / 0.05 >= 4.5


def test_caption_names_cores_versions_and_day() -> None:
    """What a reader needs to judge the numbers."""
    line = caption(
        {
            "machine": {"cores": 2},
            "versions": {"openssh": "OpenSSH_9.2p1 Debian-2, OpenSSL 3.0"},
            "date": "2026-11-26T15:00:00+00:00",
        }
    )
    for part in ("2 cores", "OpenSSH_9.2p1", "2026-11-26"):
        assert part in line
