"""What is set aside, as properties of any recordings."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.data.manifest import Utterance
from nim4asr.errors import InputError
from nim4asr.training.finetuning.recordings import (
    apart_from,
    divide,
    in_hash_order,
    read_recordings,
)


def utterance(number: int, speaker: str = "", split: str = "") -> Utterance:
    return Utterance(f"u{number}", f"{number}.wav", "你好", "zh", speaker=speaker, split=split)


def recordings(speakers: list[str]) -> list[Utterance]:
    return [utterance(number, speaker) for number, speaker in enumerate(speakers)]


def ids(utterances: object) -> set[str]:
    return {one.id for one in utterances}  # type: ignore[attr-defined]


@given(st.lists(st.sampled_from(["", *"abcdefghijklmnopqrst"]), min_size=20, max_size=300))
def test_every_recording_is_on_one_side_and_about_a_tenth_on_the_other(speakers: list[str]) -> None:
    everything = recordings(speakers)
    found = divide([everything])
    assert ids(found.trained) | ids(found.held_out) == ids(everything)
    assert not ids(found.trained) & ids(found.held_out)
    assert len(found.trained) + len(found.held_out) == len(everything)
    assert 0.05 * len(everything) <= len(found.held_out) <= max(2, 0.25 * len(everything))
    if found.rules == ("speakers",):
        sides = ({one.speaker for one in side} - {""} for side in (found.trained, found.held_out))
        assert not next(sides) & next(sides)
    else:
        # Single ones hit the tenth, but that there are two at least.
        assert found.rules == ("recordings",)
        assert len(found.held_out) == max(2, round(0.1 * len(everything)))


@given(st.lists(st.integers(1, 9), min_size=12, max_size=60))
def test_where_no_speaker_is_large_whole_speakers_are_set_aside(sizes: list[int]) -> None:
    total = sum(sizes)
    speakers = [f"s{number}" for number, size in enumerate(sizes) for _ in range(size)]
    found = divide([recordings(speakers)])
    if max(sizes) <= 0.1 * total and total >= 20:
        assert found.rules == ("speakers",)
        assert len(found.held_out) <= max(2, 0.15 * total)


@given(st.lists(st.sampled_from(["", *"abcdefghij"]), min_size=20, max_size=80), st.randoms())
def test_the_order_of_lines_does_not_matter(speakers: list[str], random: object) -> None:
    everything = recordings(speakers)
    other = list(everything)
    random.shuffle(other)  # type: ignore[attr-defined]
    assert ids(divide([everything]).held_out) == ids(divide([other]).held_out)
    assert in_hash_order(everything) == in_hash_order(other)


@given(
    st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=10, max_size=40),
    st.lists(st.sampled_from(["c", "d", ""]), min_size=2, max_size=20),
    st.lists(st.sampled_from(["a", "c", "e", "f", ""]), min_size=20, max_size=60),
)
def test_a_dev_split_is_taken_as_it_is_and_its_speakers_are_trained_on_in_no_other_manifest(
    train: list[str], dev: list[str], other: list[str]
) -> None:
    own = [utterance(1000 + number, speaker, "train") for number, speaker in enumerate(train)]
    own += [utterance(2000 + number, speaker, "dev-clean") for number, speaker in enumerate(dev)]
    own += [utterance(3000, "t", "test")]
    found = divide([own, recordings(other)])
    held_out = ids(found.held_out)
    assert "split" in found.rules and found.unused == 1
    assert ids(one for one in own if one.split == "dev-clean") <= held_out
    assert not ids(one for one in own if one.split in ("train", "test")) & held_out
    assert "u3000" not in ids(found.trained)
    judged = set(dev) - {""}
    from_other = [one for one in found.trained if one.id not in ids(own)]
    assert not {one.speaker for one in from_other} & judged
    if "speakers" in found.rules:
        # Nor are speakers of the other one's tenth trained on in the first.
        others = {one.speaker for one in found.held_out if one.id not in ids(own)} - {""} - judged
        assert not others & set(train)


@given(
    st.lists(st.sampled_from(["", *"abcdefghijkl"]), min_size=40, max_size=90),
    st.lists(st.sampled_from(["", *"aceg", *"uvwxyz"]), min_size=40, max_size=90),
    st.integers(0, 40),
)
def test_replayed_speech_spoils_no_judging(mine: list[str], others: list[str], shared: int) -> None:
    own = divide([recordings(mine)])
    there = [
        replace(one, id=f"r{number}", audio=f"{number + shared}.wav")
        for number, one in enumerate(recordings(others))
    ]
    whole = divide([there])
    try:
        found = apart_from(own, whole)
    except InputError:
        return
    trained = {one.audio for one in (*own.trained, *found.trained)}
    assert not {one.audio for one in own.held_out} & trained
    assert not {one.audio for one in found.held_out} & {one.audio for one in own.trained}
    assert set(found.trained) <= set(whole.trained) and set(found.held_out) <= set(whole.held_out)
    if own.rules == ("speakers",):
        heard = {one.speaker for one in (*own.trained, *found.trained)}
        assert not ({one.speaker for one in own.held_out} - {""}) & heard


def test_names_of_splits() -> None:
    names = [
        "dev",
        "Dev-other",
        "valid",
        "validation",
        "test",
        "test_net",
        "eval",
        "validated",
        "device-2",
        "",
    ]
    rows = [utterance(number, split=names[number % len(names)]) for number in range(40)]
    found = divide([rows])
    assert Counter(one.split for one in found.held_out) == dict.fromkeys(names[:4], 4)
    assert Counter(one.split for one in found.trained) == dict.fromkeys(["validated", "device-2", ""], 4)
    assert found.unused == 12 and found.rules == ("split",)


def test_one_speaker_is_divided_by_recordings() -> None:
    found = divide([recordings(["only"] * 50)])
    assert found.rules == ("recordings",) and len(found.held_out) == 5


@pytest.mark.parametrize("count", [2, 11])
def test_too_few(count: int) -> None:
    with pytest.raises(InputError, match="are too few; 10 and 2 are the least"):
        divide([recordings([""] * count)])


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_recordings_without_a_text_and_those_listed_twice(tmp_path: Path) -> None:
    one = {"id": "a", "audio": "1.wav", "text": "hello", "language": "en"}
    first = write(tmp_path / "1.jsonl", [one, {**one, "audio": "2.wav"}, {**one, "id": "b", "text": " "}])
    second = write(tmp_path / "2.jsonl", [one, {**one, "audio": "3.wav"}])
    found = read_recordings([first, second])
    assert found.without_text == 1
    listed = [(Path(u.audio).name, u.id) for rows in found.manifests for u in rows]
    assert [audio for audio, _ in listed] == ["1.wav", "2.wav", "3.wav"]
    assert len({id for _, id in listed}) == 3
    with pytest.raises(InputError, match="none of 1 recordings has a text"):
        read_recordings([write(tmp_path / "3.jsonl", [{**one, "text": ""}])])


def test_a_line_that_comes_again_in_a_split_to_judge_by_is_judged(tmp_path: Path) -> None:
    """In any order of lines and manifests; and what a test split lists is not trained on."""
    clips = [{"audio": f"{number}.wav", "text": f"hello {number}", "language": "en"} for number in range(16)]
    again = [{**clips[number], "split": "dev"} for number in range(3)] + [{**clips[3], "split": "test"}]
    orders = (
        [clips + again],
        [again + clips],
        [clips, again + clips],
        [again, clips],
    )
    for number, manifests in enumerate(orders):
        paths = [write(tmp_path / f"{number}-{at}.jsonl", rows) for at, rows in enumerate(manifests)]
        found = divide(read_recordings(paths).manifests)
        assert found.unused == 1
        held_out = [one.text for one in found.held_out]
        trained = [one.text for one in found.trained]
        assert {"hello 0", "hello 1", "hello 2"} <= set(held_out)
        assert len(held_out) + len(trained) == len({*held_out, *trained}) == 15
        assert "hello 3" not in {*held_out, *trained}


def test_what_is_listed_twice_is_on_one_side(tmp_path: Path) -> None:
    """Under two names, with two texts, in two splits: judged, and not trained on."""
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    rows = [
        {
            "audio": f"{number}.wav",
            "text": "hello",
            "language": "en",
            "split": "dev" if number < 3 else "train",
        }
        for number in range(20)
    ]
    rows += [{**rows[0], "text": "hello there", "split": "train"}]
    rows += [{**rows[1], "audio": "elsewhere/1.wav", "text": "hallo", "split": "train"}]
    found = divide(read_recordings([write(tmp_path / "1.jsonl", rows)]).manifests)
    assert len(found.held_out) == 3 and len(found.trained) == 17
    again = {**rows[2], "audio": str(tmp_path / "elsewhere" / "2.wav"), "split": "", "text": "hey"}
    other = write(tmp_path / "2.jsonl", [again])
    found = divide(read_recordings([tmp_path / "1.jsonl", other]).manifests)
    assert not any(one.audio.endswith("/2.wav") for one in found.trained)
