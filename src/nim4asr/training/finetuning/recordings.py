"""Which recordings a model is tuned on, and which it is judged by.

A manifest that has a dev split is judged by it, and its test split is used for nothing. Of all others a tenth
is set aside: whole speakers where that comes near a tenth, else recordings, by a hash of their ids. What is
set aside depends on names alone, not on the order of lines or the machine. No speaker of a dev split is
trained on because another manifest has them too, and no recording because it is listed twice.
"""

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nim4asr.data.manifest import Utterance, read_manifest, unique
from nim4asr.errors import InputError

Rule = Literal["split", "speakers", "recordings"]
# With fewer there is nothing to learn, or no interval of errors.
LEAST_TRAINED, LEAST_HELD_OUT = 10, 2
_SHARE = 0.1
# Whole speakers may make so much of the recordings: first the one, and if there are too few for that, the
# other.
_MOST = (0.15, 0.25)
_LEAST = 0.05


@dataclass(frozen=True)
class Division:
    """Recordings to train on and others, ``held_out``, to judge by; by which ``rules``; and how many of a
    test split are ``unused``.
    """

    trained: tuple[Utterance, ...]
    held_out: tuple[Utterance, ...]
    rules: tuple[Rule, ...]
    unused: int = 0


@dataclass(frozen=True)
class Recordings:
    """What manifests hold: the recordings of each that have a text, and how many have none."""

    manifests: tuple[tuple[Utterance, ...], ...]
    without_text: int


def read_recordings(manifests: Sequence[Path]) -> Recordings:
    """The recordings of ``manifests``. One that is listed twice with the same text counts once, to judge by
    if any line says so, else as unused if one does; no two have the same id.

    Raises ``InputError`` if a manifest cannot be read, or if no recording has a text.
    """
    read = [list(read_manifest(path)) for path in manifests]
    count = sum(map(len, read))
    with_text = [[utterance for utterance in rows if utterance.text.strip()] for rows in read]
    without = count - sum(map(len, with_text))
    # Of equal lines the first is kept whose split decides, whatever the order of lines and manifests.
    kept: dict[tuple[str, str, str], Utterance] = {}
    for utterance in (utterance for rows in with_text for utterance in rows):
        key = (*_source(utterance), utterance.text)
        if key not in kept or _decides(utterance) > _decides(kept[key]):
            kept[key] = utterance
    chosen = {id(utterance) for utterance in kept.values()}
    found = [[utterance for utterance in rows if id(utterance) in chosen] for rows in with_text]
    if not kept:
        names = ", ".join(map(str, manifests))
        raise InputError(
            f"{names}: none of {count} recordings has a text; a model is tuned on recordings with their texts"
        )
    ids = iter(unique([utterance.id for rows in found for utterance in rows]))
    named = tuple(tuple(replace(utterance, id=next(ids)) for utterance in rows) for rows in found)
    return Recordings(named, without)


def divide(manifests: Sequence[Sequence[Utterance]]) -> Division:
    """Recordings to train on and to judge by, as the module says.

    Raises ``InputError`` if they are too few for both.
    """
    trained: list[Utterance] = []
    held_out: list[Utterance] = []
    undivided: list[Utterance] = []
    rules: list[Rule] = []
    unused = 0
    for rows in manifests:
        roles = [_role(utterance.split) for utterance in rows]
        of_role = {role: [u for u, own in zip(rows, roles, strict=True) if own == role] for role in _ROLES}
        unused += len(of_role["test"])
        if of_role["dev"]:
            rules.append("split")
            held_out += of_role["dev"]
            trained += of_role["train"]
        else:
            undivided += of_role["train"]
    judged = {utterance.speaker for utterance in held_out} - {""}
    held_out += [utterance for utterance in undivided if utterance.speaker in judged]
    undivided = [utterance for utterance in undivided if utterance.speaker not in judged]
    if undivided:
        chosen, rule = _tenth(undivided, {utterance.speaker for utterance in trained} - {""})
        rules.append(rule)
        held_out += [utterance for utterance in undivided if utterance.id in chosen]
        trained += [utterance for utterance in undivided if utterance.id not in chosen]
    # One that is listed twice, with two texts or in two splits, may stand on both sides.
    sources = set(map(_source, held_out))
    trained = [utterance for utterance in trained if _source(utterance) not in sources]
    return _checked(Division(tuple(trained), tuple(held_out), tuple(dict.fromkeys(rules)), unused))


def apart_from(own: Division, other: Division) -> Division:
    """``other`` without what would spoil the judging: recordings to train on that ``own`` is judged by, or
    whose speakers it is judged by and not trained on; and recordings to judge by that ``own`` is trained on.

    Raises ``InputError`` if too few are left.
    """
    judged, learnt = set(map(_source, own.held_out)), set(map(_source, own.trained))
    strangers = {u.speaker for u in own.held_out} - {u.speaker for u in own.trained} - {""}
    trained = [u for u in other.trained if _source(u) not in judged and u.speaker not in strangers]
    held_out = [u for u in other.held_out if _source(u) not in learnt]
    return _checked(replace(other, trained=tuple(trained), held_out=tuple(held_out)))


def _source(utterance: Utterance) -> tuple[str, str]:
    """Where the sound is, however the manifest names the place."""
    if utterance.tar is None:
        return "", os.path.realpath(utterance.audio)
    return os.path.realpath(utterance.tar), utterance.audio


def _checked(division: Division) -> Division:
    trained, held_out = len(division.trained), len(division.held_out)
    if trained < LEAST_TRAINED or held_out < LEAST_HELD_OUT:
        raise InputError(
            f"{trained} recordings to train on and {held_out} to judge by are too few; "
            f"{LEAST_TRAINED} and {LEAST_HELD_OUT} are the least, some hundreds are better"
        )
    return division


_ROLES = ("train", "dev", "test")
_DEV = re.compile(r"(dev|devel|development|val|valid|validation)(?![a-z])", re.IGNORECASE)
_TEST = re.compile(r"(test|eval|evaluation)(?![a-z])", re.IGNORECASE)


def _role(split: str) -> str:
    """What a split is for, by how corpora name theirs: ``dev-clean``, ``validation``, ``test_net``."""
    return "dev" if _DEV.match(split) else "test" if _TEST.match(split) else "train"


def _decides(utterance: Utterance) -> int:
    return ("train", "test", "dev").index(_role(utterance.split))


def _tenth(utterances: Sequence[Utterance], trained_speakers: set[str]) -> tuple[set[str], Rule]:
    """The ids of about a tenth of ``utterances``: those of whole speakers who are trained on nowhere, or
    single ones.
    """
    by_speaker = _groups(utterances, lambda u: f"speaker {u.speaker}" if u.speaker else f"recording {u.id}")
    free = {
        name: ids
        for name, ids in by_speaker.items()
        if not any(name == f"speaker {speaker}" for speaker in trained_speakers)
    }
    if any(name.startswith("speaker ") for name in free):
        for most in _MOST:
            if chosen := _near_a_tenth(free, len(utterances), most):
                return chosen, "speakers"
    single = _groups(utterances, lambda utterance: f"recording {utterance.id}")
    return _near_a_tenth(single, len(utterances), 1.0), "recordings"


def _groups(utterances: Iterable[Utterance], key: Callable[[Utterance], str]) -> dict[str, list[str]]:
    """The ids of each group, the groups in the order of their names' hashes."""
    groups: dict[str, list[str]] = {}
    for utterance in utterances:
        groups.setdefault(key(utterance), []).append(utterance.id)
    return dict(sorted(groups.items(), key=lambda item: (_hash(item[0]), item[0])))


def _near_a_tenth(groups: dict[str, list[str]], count: int, most: float) -> set[str]:
    """Whole groups that hold as near to a tenth of ``count`` as their order allows; none if they come to no
    twentieth of it.
    """
    wanted, least = max(LEAST_HELD_OUT, round(_SHARE * count)), max(LEAST_HELD_OUT, math.ceil(_LEAST * count))
    chosen: set[str] = set()
    for ids in groups.values():
        total = len(chosen) + len(ids)
        nearer = len(chosen) < least or abs(total - wanted) < abs(len(chosen) - wanted)
        if nearer and total <= max(LEAST_HELD_OUT, most * count):
            chosen.update(ids)
    return chosen if len(chosen) >= least else set()


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def in_hash_order(utterances: Iterable[Utterance]) -> list[Utterance]:
    """``utterances`` in an order that has nothing to do with what they are, so that any first few are a fair
    sample.
    """
    return sorted(utterances, key=lambda utterance: (_hash(utterance.id), utterance.id))
