"""Rules that rewrite parts of a text: patterns, each with what is written in the place of what it matches."""

import re
from collections.abc import Callable, Sequence
from functools import cached_property

# So many characters before and behind a match may say how it is read.
_AROUND = 40

Rule = tuple[str, Callable[[re.Match[str]], str | None]]


class Rules:
    """``rules`` are tried at every place, the first of them first; what one matches is rewritten once.

    A rule whose function returns None leaves what it matched as it stands.
    """

    def __init__(self, rules: Sequence[Rule], flags: re.RegexFlag = re.NOFLAG) -> None:
        self._rules, self._flags = {f"rule{i}": rule for i, rule in enumerate(rules)}, flags
        self._patterns: dict[str, re.Pattern[str]] = {}

    def __call__(self, text: str) -> str:
        """``text``, rewritten."""
        return self._any.sub(self._rewritten, text)

    # Compiled when a text first needs them: all rules of both languages take a third of a second.
    @cached_property
    def _any(self) -> re.Pattern[str]:
        return re.compile(
            "|".join(f"(?P<{name}>{rule})" for name, (rule, _) in self._rules.items()), self._flags
        )

    def _rewritten(self, found: re.Match[str]) -> str:
        name = found.lastgroup or ""
        rule, write = self._rules[name]
        if name not in self._patterns:
            self._patterns[name] = re.compile(rule, self._flags)
        # The rule's own groups, which are numbered otherwise among all of them.
        own = self._patterns[name].match(found.string, found.start())
        written = write(own) if own else None
        return found.group() if written is None else written


def around(found: re.Match[str]) -> tuple[str, str]:
    """What stands right before and right behind a match: as much as a rule may want to know."""
    return (
        found.string[max(0, found.start() - _AROUND) : found.start()],
        found.string[found.end() : found.end() + _AROUND],
    )


def tidied(written: str, text: str) -> str:
    """``written`` without the spaces that rewriting ``text`` has put beside others, and at its ends."""
    if written == text:
        return text
    if "  " not in text:
        written = re.sub(" {2,}", " ", written)
    left = text[: len(text) - len(text.lstrip())]
    right = text[len(text.rstrip()) :]
    return left + written.strip() + right if text.strip() else written
