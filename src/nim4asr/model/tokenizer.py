"""The language model's tokenizer: text to token ids and back, by the library ``tokenizers`` alone."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nim4asr.errors import InputError
from nim4asr.files import parse_json, read_text, reason
from nim4asr.text.languages import Language, foreign_to

if TYPE_CHECKING:
    import tokenizers

TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
FILE = "tokenizer.json"
# What Hugging Face's transformers wants to know beside it: which class, and the names of special tokens.
SETTINGS = "tokenizer_config.json"


class Tokenizer:
    """Token ids of texts, and texts of token ids.

    ``settings`` are kept for other programs, and written beside the tokenizer by ``save``.
    """

    def __init__(self, inner: "tokenizers.Tokenizer", settings: Mapping[str, Any] | None = None) -> None:
        self._inner = inner
        self._settings = dict(settings or {})
        # What each token adds to a text, as far as that was asked.
        self._pieces: dict[int, str | None] = {}
        # The tokens that a language has not.
        self._foreign: dict[Language, NDArray[np.int64]] = {}

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """The tokenizer in a model's ``folder``. Raises ``InputError`` if it holds none."""
        from tokenizers import Tokenizer as Inner

        path = folder / FILE
        try:
            inner = Inner.from_str(read_text(path))
            row = parse_json(read_text(folder / SETTINGS)) if (folder / SETTINGS).exists() else {}
            tokenizer = cls(inner, row)
            _ = tokenizer.end
        except InputError as error:
            raise InputError(f"{folder}: the tokenizer cannot be read ({error})") from None
        except Exception as error:  # Its parser raises bare exceptions.
            raise InputError(f"{folder}: the tokenizer cannot be read ({reason(error)})") from None
        return tokenizer

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer_config.json`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(self._inner.to_str(pretty=True), encoding="utf-8")
        row = json.dumps(self._settings, ensure_ascii=False, indent=2, sort_keys=True)
        (folder / SETTINGS).write_text(row + "\n", encoding="utf-8")

    @cached_property
    def end(self) -> int:
        """The id that ends a turn, and with it a transcript. Raises ``InputError`` if there is none."""
        token = self._inner.token_to_id(TURN_END)
        if token is None:
            raise InputError(f"it has no token {TURN_END}")
        return int(token)

    @cached_property
    def _plain(self) -> "tokenizers.Tokenizer":
        """One that takes what looks like a special token for text: a second one, since this is a switch."""
        from tokenizers import Tokenizer as Inner

        plain = Inner.from_str(self._inner.to_str())
        plain.encode_special_tokens = True
        return plain

    def encode(self, text: str) -> list[int]:
        """Token ids of a text that comes from outside: what looks like a special token in it is only text."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def encode_special(self, text: str) -> list[int]:
        """Token ids of a text of our own, special tokens among them."""
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ``tokens`` without special ones.

        More tokens only add to it, but for a character of which they hold half so far.
        """
        return str(self._inner.decode(list(tokens), skip_special_tokens=True))

    def foreign(self, language: Language) -> NDArray[np.int64]:
        """The tokens that no text in ``language`` has, ascending: their pieces hold letters of other scripts.

        Of a piece that is half a character it is not known: English has none.
        """
        if language not in self._foreign:
            pieces = [self.decode([token]) for token in range(self._inner.get_vocab_size())]
            self._foreign[language] = np.array(
                [
                    token
                    for token, piece in enumerate(pieces)
                    if foreign_to(language, piece) or (language == "en" and "\ufffd" in piece)
                ],
                np.int64,
            )
        return self._foreign[language]

    def grown(self, text: str, tokens: Sequence[int], token: int) -> str:
        """The text of ``tokens`` and ``token`` behind them, given the ``text`` of ``tokens``: what ``decode``
        says, without decoding all of it again.
        """
        if token not in self._pieces:
            self._pieces[token] = self._piece(token)
        piece = self._pieces[token]
        # What half a character will be is not known; a decoder may treat the first token otherwise.
        if piece is None or not text or text[-1] == "\ufffd":
            return self.decode([*tokens, token])
        return text + piece

    def _piece(self, token: int) -> str | None:
        """What ``token`` adds to a text that ends in whole characters; None if that depends on the text."""
        added = set()
        for before in self._anchors:
            alone = self.decode(before)
            whole = self.decode([*before, token])
            added.add(whole[len(alone) :] if whole.startswith(alone) else "\ufffd")
        piece = added.pop()
        return None if added or "\ufffd" in piece else piece

    @cached_property
    def _anchors(self) -> list[list[int]]:
        """The tokens of a few texts, for what another adds to them."""
        return [self.encode(text) for text in ("a", "好", "a b,")]

    def __len__(self) -> int:
        return int(self._inner.get_vocab_size())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self._inner.to_str() == other._inner.to_str()

    def __hash__(self) -> int:
        return hash(self._inner.to_str())
