import math
from pathlib import Path

import numpy as np
import pytest

from nim4asr.errors import InputError
from nim4asr.hotwords.building import assemble
from nim4asr.hotwords.hints import Hit
from nim4asr.hotwords.index import HotwordIndex, build, longest
from nim4asr.hotwords.names import Name
from nim4asr.hotwords.pronouncing import pronounce_name
from nim4asr.hotwords.search import certain
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.recognition.hinting import HintPolicy


def index(*texts: str) -> HotwordIndex:
    return HotwordIndex([assemble([pronounce_name(Name(text))[0] for text in texts])])


def found(index: HotwordIndex, text: str) -> list[str]:
    return [hit.text for hit in index.search_phonemes(TABLE.encode(pronounce(text)))]


def test_names_are_found_in_what_is_said() -> None:
    names = index("天安门", "天安门广场", "张伟", "章薇", "重庆大学", "NIO")
    # 章薇 sounds the same but for its tones.
    assert found(names, "我在天安门广场等张伟") == ["天安门广场", "张伟", "章薇"]
    assert found(names, "天安门和天安门广场") == ["天安门", "天安门广场"]
    assert found(names, "今天天气很好") == []


def test_a_hit_tells_where_how_well_and_with_which_tones() -> None:
    names = HotwordIndex()
    names.add([Name("北京", weight=3.0, category="city"), Name("背景")])
    hits = {hit.text: hit for hit in names.search_phonemes(TABLE.encode("uo3 z ai4 b ei3 j ing1".split()))}
    right, wrong = hits["北京"], hits["背景"]
    assert (right.start, right.end) == pytest.approx((3.5 * 0.08, 7 * 0.08))
    assert right.score == wrong.score == 1.0
    assert right.tones and not wrong.tones
    assert (right.weight, right.category, right.phonemes) == (3.0, "city", 4)


def test_names_come_and_go_without_a_rebuild() -> None:
    shared = index("天安门", "重庆大学")
    mine = shared.over()
    assert mine.databases[0] is shared.databases[0]
    mine.add([Name("张伟东"), Name("天安门", (("x", "i1", "h", "u2"),))])
    mine.remove(["重庆大学"])
    text = "张伟东在天安门和重庆大学"
    assert found(mine, text) == ["张伟东"]
    assert [h.text for h in mine.search_phonemes(TABLE.encode(["x", "i1", "h", "u2"]))] == ["天安门"]
    assert found(shared, text) == ["天安门", "重庆大学"]
    assert sorted(mine.texts()) == ["天安门", "张伟东"]
    assert list(mine.add([Name("नमस्ते")])) == ["नमस्ते"]
    mine.add([Name("重庆大学")])
    assert found(mine, text) == ["张伟东", "重庆大学"]


def test_a_list_and_its_database_find_the_same(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("天安门\n\n张伟东\n天安门\nनमस्ते\n", encoding="utf-8")
    listed = HotwordIndex.load(tmp_path / "names.txt")
    database, built = build([tmp_path / "names.txt"], workers=1)
    assert (built.names, built.unpronounceable) == (3, 1)
    assert [problem.line for problem in built.problems] == [2, 4, 5]
    assert "already" in str(built.problems[1])
    assert listed.save(tmp_path / "names.db") == 3
    for one in (listed, HotwordIndex([database]), HotwordIndex.load(tmp_path / "names.db")):
        assert found(one, "张伟东去天安门") == ["张伟东", "天安门"]


def test_lists_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("\n!\n")
    with pytest.raises(InputError, match="no name"):
        HotwordIndex.load(tmp_path / "none.txt")
    with pytest.raises(InputError, match="no name"):
        build([tmp_path / "none.txt"], workers=1)


def test_frames_as_they_come() -> None:
    names = index("天安门广场")
    log_probs = certain(TABLE.encode(pronounce("我在天安门广场")))
    listener = names.listen(0.04)
    assert listener.hits() == []
    for frame in log_probs:
        listener.feed(frame[None])
    assert listener.hits() == names.search(log_probs, 0.04)
    assert names.search(np.zeros((0, len(TABLE)), np.float32), 0.04) == []


def test_the_longer_name_wins_unless_it_fits_worse() -> None:
    def hit(start: float, end: float, cost: float, phonemes: int) -> Hit:
        return Hit("", start, end, math.exp(-cost / phonemes), True, phonemes, 0.0)

    short = hit(4, 10, 0.0, 4)
    for long, kept in (
        (hit(2, 12, 0.5, 8), [False, True]),
        (hit(2, 12, 4.0, 8), [True, True]),
        (hit(5, 12, 0.0, 8), [True, True]),
    ):
        left = longest([short, long])
        assert [one in left for one in (short, long)] == kept


def test_evidence_is_the_formula_of_its_module() -> None:
    names = HotwordIndex()
    names.add([Name("北京", weight=math.e), Name("上海")])
    said = TABLE.encode("b ei3 j ing1".split())
    log_probs = certain(said)
    log_probs[1, said[0]], log_probs[1, TABLE.encode(["p"])[0]] = math.log(0.4), math.log(0.6)
    (hit,) = names.search(log_probs, 0.04)
    cost = math.log(0.6 / 0.4)
    # 1.2 a phoneme, 0.4 log P, 0.2 of both costs, half the log of two names, the log of its weight.
    expected = 1.2 * 4 + 0.4 * math.log(0.4) - 0.2 * 2 * cost - 0.5 * math.log(2) + 1
    assert hit.evidence == pytest.approx(expected, abs=1e-4)
    (again,) = names.search(log_probs, 0.04, EvidenceConfig(bias=0.7))
    assert again.evidence == pytest.approx(expected + 0.7, abs=1e-4)
    assert hit.score == pytest.approx(math.exp(-cost / 4), abs=1e-4)


def test_what_cannot_have_been_said_by_more_than_chance_is_not_told() -> None:
    said = TABLE.encode("x i1 an1".split())
    crowd = [Name("西安"), *(Name(f"n{i}", (("zh", "ang1", "x", "ve2", "l"),)) for i in range(9000))]
    names = HotwordIndex([assemble([pronounce_name(name)[0] for name in crowd])])
    blurred = certain(said)
    blurred[1, said[0]], blurred[1, TABLE.encode(["p"])[0]] = math.log(0.2), math.log(0.8)
    assert [h.text for h in names.search(certain(said), 0.04)] == ["西安"]
    assert names.search(blurred, 0.04) == []
    # Asked for by its sounds, a name is found in any crowd.
    assert [h.text for h in names.search_phonemes(said)] == ["西安"]


def test_under_a_name_there_must_be_voice() -> None:
    names = index("天安门广场")
    said = TABLE.encode(pronounce("天安门广场"))
    log_probs = np.full((2 * len(said), len(TABLE)), -20.0, np.float32)
    log_probs[:, 0] = math.log(0.55)
    log_probs[np.arange(1, 2 * len(said), 2), said] = math.log(0.45)
    assert names.search(log_probs, 0.04) == []
    log_probs[np.arange(1, 2 * len(said), 2), said] = math.log(0.6)
    assert [h.text for h in names.search(log_probs, 0.04)] == ["天安门广场"]


def test_who_listens_goes_on_with_the_names_there_were() -> None:
    index = HotwordIndex()
    index.add([Name("北京大学")])
    before, hinting = index.listen(0.04), HintPolicy(index)
    log_probs = certain(TABLE.encode([*pronounce("北京大学"), *pronounce("上海市")]))
    before.feed(log_probs[:9])
    index.remove(["北京大学"])
    index.add([Name("上海市")])
    before.feed(log_probs[9:])
    assert [hit.text for hit in before.hits()] == ["北京大学"]
    assert [hit.text for hit in index.search(log_probs, 0.04)] == ["上海市"]
    # A stream's list is that of the moment it was given in, for all its segments.
    later = hinting.listen(0.04)
    later.feed(log_probs)
    assert [hit.text for hit in later.heard().hits] == ["北京大学"]


def test_a_models_evidence_counts_where_the_index_has_none_of_its_own() -> None:
    log_probs = certain(TABLE.encode(pronounce("北京大学")))
    models, own = EvidenceConfig(gain=3.0), EvidenceConfig(gain=2.0)

    def found(index: HotwordIndex, evidence: EvidenceConfig | None) -> float:
        index.add([Name("北京大学")])
        (hit,) = index.search(log_probs, 0.04, evidence)
        return hit.evidence

    plain = found(HotwordIndex(), None)
    phonemes = len(pronounce("北京大学"))
    assert found(HotwordIndex(), models) == pytest.approx(plain + phonemes * (3.0 - EvidenceConfig().gain))
    assert found(HotwordIndex(evidence=own), models) == found(HotwordIndex(evidence=own), None)
    index = HotwordIndex()
    index.add([Name("北京大学")])
    tracker = HintPolicy(index).listen(0.04, models)
    tracker.feed(log_probs)
    assert tracker.heard().hits[0].evidence == found(HotwordIndex(), models)
