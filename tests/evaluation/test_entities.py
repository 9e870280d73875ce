from nim4asr.evaluation.entities import EntityCount, NameList
from nim4asr.hotwords.hints import Hit
from nim4asr.recognition.result import Segment, Transcript
from nim4asr.text.normalization import tokens

NAMES = NameList(["天安门", "天安门广场", "New York", "北京", ""])


def test_names_in_a_text_but_for_those_inside_longer_ones() -> None:
    assert NAMES.said(tokens("天安门广场在北京。")) == {"天安门广场", "北京"}
    assert NAMES.said(tokens("天安门和天安门广场")) == {"天安门", "天安门广场"}
    assert NAMES.said(tokens("He lives in new york!")) == {"New York"}
    assert NAMES.said(tokens("newly")) == NAMES.said([]) == set()


def test_what_became_of_the_names() -> None:
    hits = tuple(
        Hit(text, 0, 1, 1.0, True, 6, evidence)
        for text, evidence in (("天安门", 2.0), ("北京", -1.0), ("上海", 1.0))
    )
    segment = Segment(0, 1, "天安门和上海", 1.0, hits=hits, hints=("天安门", "上海", "南京"))
    transcript = Transcript("", 1.0, (segment,), 1.0)
    count = EntityCount.of(NAMES, tokens("天安门和北京"), transcript)
    assert count == EntityCount(said=2, heard=1, written=1, hints=3, right=1, false=1)
    assert count + count == EntityCount(4, 2, 2, 6, 2, 2)


def test_english_names_are_words_not_letters() -> None:
    names = NameList(["Ann", "Lee", "5G", "Zürich"])
    assert names.said(tokens("We were planning to sleep.")) == set()
    assert names.said(tokens("Ann's friend Lee 去Zurich用5G")) == {"Ann", "Lee", "5G", "Zürich"}
    segment = Segment(0, 1, "we were planning", 1.0, hints=("Ann", "Lee"))
    count = EntityCount.of(names, tokens("we and Ann were planning"), Transcript("", 1.0, (segment,), 1.0))
    assert count == EntityCount(said=1, heard=0, written=0, hints=2, right=1, false=0)
