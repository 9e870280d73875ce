"""The page's colors, by the contrast of WCAG 2.2: text at 4.5 to 1, what is drawn and edged at 3 to 1."""

import re
from importlib.resources import files

import pytest

CSS = (files("nim4asr.serving") / "page" / "page.css").read_text(encoding="utf-8")
MODES = ("light", "dark")
# Ink, and each ground that it stands on.
TEXT = {
    "ink": ("paper", "card", "hover", "playing"),
    "quiet": ("paper", "card"),
    "wrong": ("paper", "card"),
    "accent-ink": ("accent",),
    "wrong-ink": ("wrong",),
}
DRAWN = {
    "edge": ("card", "paper"),
    "accent": ("card", "paper", "line"),
    "wrong": ("card", "paper"),
    "speech": ("card",),
    "silence": ("card",),
    "playhead": ("card",),
    "hit": ("card", "playing"),
}
# Lines between parts, which nothing depends on.
IDLE = {"line"}


def colors(mode: str) -> dict[str, str]:
    """The page's colors by name."""
    light, dark = re.findall(r":root \{(.*?)\n\s*\}", CSS, re.DOTALL)
    declared = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", light))
    return declared if mode == "light" else declared | dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", dark))


def luminance(color: str) -> float:
    """Relative luminance of sRGB."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_text_can_be_read_and_what_is_drawn_seen(mode: str) -> None:
    known = colors(mode)
    for pairs, least in ((TEXT, 4.5), (DRAWN, 3.0)):
        for ink, grounds in pairs.items():
            for ground in grounds:
                assert contrast(known[ink], known[ground]) >= least, (mode, ink, ground)


def test_all_colors_are_in_those_pairs() -> None:
    """No rule has a color of its own, and none fades one."""
    _, rules = re.split(r"\n\* \{", CSS)
    own = r"#[0-9a-f]{3,8}\b(?=[;,\s)])|rgba?\(|hsla?\(|color-mix|: (?:black|white|gr[ae]y)\b"
    assert re.findall(own, rules) == []
    paired = {*TEXT, *DRAWN, *(ground for grounds in (*TEXT.values(), *DRAWN.values()) for ground in grounds)}
    for mode in MODES:
        assert set(colors(mode)) == paired | IDLE
    inks = set(re.findall(r"(?<![-\w])color: var\(--([a-z-]+)\)", rules))
    assert inks <= set(TEXT)
    grounds = set(re.findall(r"background(?:-color)?: var\(--([a-z-]+)\)", rules))
    assert grounds - {"line", "playhead"} <= {ground for names in TEXT.values() for ground in names}
