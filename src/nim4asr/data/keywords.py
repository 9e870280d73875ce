"""Keywords: what context SFT hints at, and what sounds like it.

The paper takes its keyword set from the training transcripts by a language model; here the words of a
transcript are tagged by part of speech (rjieba for Chinese; for English, the words that are rare in the
transcripts), and an OpenAI-compatible endpoint may filter the set. Distractors are keywords of identical or
near sound, found in the phoneme table without its tones: the hints that a model must learn to read past.
"""

import json
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from numpy.random import Generator

from nim4asr.addresses import is_loopback
from nim4asr.errors import InputError
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.text.characters import is_han
from nim4asr.text.occurrences import Names, longest_first

Sound = tuple[int, ...]


@dataclass(frozen=True)
class KeywordConfig:
    """Which words of the transcripts are keywords."""

    tags: tuple[str, ...] = ("n", "nr", "ns", "nt", "nz", "nrt", "nrfg", "vn", "an", "i", "l")
    """Parts of speech by jieba's tags: nouns (n, names of people nr, places ns, companies nt, others
    nz), their verbal and adjectival kinds, and idioms.
    """
    chinese_characters: tuple[int, int] = (2, 8)
    """The least and the most characters of a Chinese keyword."""
    min_english_letters: int = 4
    """The least letters of an English one."""
    max_text_share: float = 0.005
    """Words that stand in more of the texts are no keywords."""


class KeywordSet:
    """Keywords and their sounds. Those without a pronunciation are left out."""

    def __init__(self, keywords: Iterable[str] = ()) -> None:
        self._sounds: dict[str, Sound] = {}
        for keyword in keywords:
            sound = sound_of(keyword)
            if sound:
                self._sounds[keyword] = sound

    def __len__(self) -> int:
        return len(self._sounds)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sounds)

    def __contains__(self, keyword: object) -> bool:
        return keyword in self._sounds

    def within(self, text: str) -> list[str]:
        """The keywords that stand in ``text``, in its order, each once; the longest where several begin."""
        return list(dict.fromkeys(place.name for place in longest_first(self._names.find(text))))

    def alike(self, keyword: str, random: Generator, most: int = 1) -> list[str]:
        """Up to ``most`` other keywords that sound as ``keyword`` does or nearly: at most one phoneme is
        another, more or missing. Those of the same sound come first. A keyword outside the set is listened to
        all the same.
        """
        sound = self._sounds.get(keyword) or sound_of(keyword)
        same = [other for other in self._by_sound.get(sound, ()) if other != keyword]
        near = {
            other: None
            for key in _with_a_hole(sound)
            for other in self._by_hole.get(key, ())
            if other != keyword and other not in same
        }
        chosen: list[str] = []
        for group in (same, list(near)):
            order = random.permutation(len(group))
            chosen += [group[i] for i in order[: most - len(chosen)]]
        return chosen

    def draw(self, random: Generator) -> str | None:
        """Any keyword, or None from an empty set."""
        return self._all[int(random.integers(len(self._all)))] if self._all else None

    @cached_property
    def _all(self) -> tuple[str, ...]:
        return tuple(self._sounds)

    @cached_property
    def _names(self) -> Names:
        return Names(self._sounds)

    @cached_property
    def _by_sound(self) -> Mapping[Sound, list[str]]:
        return _grouped((sound, keyword) for keyword, sound in self._sounds.items())

    @cached_property
    def _by_hole(self) -> Mapping[Sound, list[str]]:
        return _grouped((key, keyword) for keyword, s in self._sounds.items() for key in _with_a_hole(s))


def sound_of(text: str) -> Sound:
    """The sounds of ``text`` without tones; empty if it has none."""
    try:
        return tuple(TABLE.toneless[p] for p in TABLE.encode(pronounce(text)))
    except ValueError:
        return ()


def _with_a_hole(sound: Sound) -> Iterator[Sound]:
    """``sound``, and it with each phoneme left out: two sounds an edit apart share one of these, at least."""
    yield sound
    for place in range(len(sound)):
        # Of one or two phonemes too little is left to call it near.
        if len(sound) > 2:
            yield sound[:place] + sound[place + 1 :]


def _grouped(pairs: Iterable[tuple[Sound, str]]) -> dict[Sound, list[str]]:
    groups: dict[Sound, list[str]] = defaultdict(list)
    for sound, keyword in pairs:
        groups[sound].append(keyword)
    return dict(groups)


def keywords_of(texts: Collection[str], config: KeywordConfig | None = None) -> list[str]:
    """The keywords of normalized ``texts``, by part of speech and rarity, commonest first.

    Raises ``InputError`` if there are none.
    """
    config = config or KeywordConfig()
    counts: Counter[str] = Counter()
    for text in texts:
        words = _chinese(text, config) if any(map(is_han, text)) else _english(text, config)
        # Each once, in the order of the text: a set's order is another in every process, and so the run's.
        counts.update(list(dict.fromkeys(words)))
    most = max(2.0, config.max_text_share * len(texts))
    kept = [keyword for keyword, count in counts.most_common() if count <= most]
    if not kept:
        raise InputError(
            f"there is no keyword in {len(texts)} transcripts; give a keyword list, or more of them"
        )
    return kept


def _chinese(text: str, config: KeywordConfig) -> Iterator[str]:
    import rjieba

    low, high = config.chinese_characters
    for word, tag in rjieba.tag(text):
        if tag in config.tags and low <= len(word) <= high and all(map(is_han, word)):
            yield word


def _english(text: str, config: KeywordConfig) -> Iterator[str]:
    return (word for word in text.split() if len(word) >= config.min_english_letters and word.isalpha())


def filtered(
    keywords: Sequence[str],
    endpoint: str,
    model: str,
    key: str = "",
    batch: int = 100,
    ask: Callable[[urllib.request.Request], Any] | None = None,
) -> list[str]:
    """Those of ``keywords`` that a language model calls names or terms; ``endpoint`` is OpenAI-compatible
    (``.../v1``).

    ``ask`` sends a request and returns the decoded answer. Raises ``InputError`` if the endpoint does not
    answer, or answers with no JSON list of strings.
    """
    ask = ask or _ask
    kept: list[str] = []
    for start in range(0, len(keywords), batch):
        some = keywords[start : start + batch]
        body = {
            "model": model,
            "temperature": 0,
            "messages": [{"role": "user", "content": _QUESTION + json.dumps(some, ensure_ascii=False)}],
        }
        request = urllib.request.Request(
            endpoint.rstrip("/") + "/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})},
        )
        try:
            answer = ask(request)["choices"][0]["message"]["content"]
            chosen = set(json.loads(answer[answer.index("[") : answer.rindex("]") + 1]))
        except (urllib.error.URLError, OSError) as error:
            raise InputError(f"{endpoint}: the endpoint does not answer ({error})") from None
        except (KeyError, IndexError, TypeError, ValueError):
            raise InputError(f"{endpoint}: the answer holds no JSON list of keywords") from None
        kept += [word for word in some if word in chosen]
    return kept


_QUESTION = (
    "Keep the items that are names of people, places, organisations, products or works, or technical terms. "
    "Answer with a JSON list of the kept items and nothing else.\n"
)


def _ask(request: urllib.request.Request) -> Any:
    without = [urllib.request.ProxyHandler({})] if is_loopback(urlsplit(request.full_url).hostname) else []
    with urllib.request.build_opener(*without).open(request, timeout=120) as response:
        return json.load(response)
