"""Which parts of a text are addresses, and how they are spelled."""

import re

import pytest

from nim4asr.text.web_addresses import ADDRESS, say_address

TEXT = (
    "see https://docs.example.org/a-b/?q=1#top, www.site.cn. or write to ann.lee+x@mail.example.co.uk, 3 @ 4;"
    " host.example.de:8080/x (not end.Then or 3.5)"
)


def test_addresses_in_a_text() -> None:
    assert [found.group() for found in re.finditer(ADDRESS, TEXT)] == [
        "https://docs.example.org/a-b/?q=1#top",
        "www.site.cn",
        "ann.lee+x@mail.example.co.uk",
        "host.example.de:8080/x",
    ]


@pytest.mark.parametrize(
    ("address", "said"), [("a.b/", "a dot b"), ("x_1!", "x one"), ("ab@c.d2", "ab at c dot d two")]
)
def test_an_address_sign_by_sign(address: str, said: str) -> None:
    numbers = {"1": "one", "2": "two"}
    assert say_address(address, {".": "dot", "@": "at"}, numbers.__getitem__, " ") == said


@pytest.mark.parametrize("part", ["a.", "a@", "a", "www.", "a-", "http://", "1.2"])
def test_time_is_in_proportion_to_the_length(part: str) -> None:
    # With the square of the length these would take minutes.
    re.findall(ADDRESS, part * 50_000)
