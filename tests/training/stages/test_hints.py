import numpy as np
import pytest

from nim4asr.data.keywords import KeywordSet
from nim4asr.training.stages.hints import HintSampling, draw_hints, keyword

TEXTS = ["他在北京大学读书", "what do you want to learn", "今天天气很好", "a b", ""]


def test_keywords_are_parts_of_their_text() -> None:
    random = np.random.default_rng(0)
    for text in TEXTS[:3]:
        for _ in range(50):
            (one,) = keyword(text, random)
            assert one in text and (2 <= len(one) <= 4 if not one.isascii() else one in text.split())
    assert keyword("a b", random) == keyword("", random) == []


def test_one_hint_of_its_own_is_enough() -> None:
    assert HintSampling(max_own=1).max_own == 1
    for wrong in ({"max_others": -1}, {"max_hints": 0}, {"share": 1.1}, {"drop_probability": -0.1}):
        with pytest.raises(ValueError, match=r"probabilities|one to"):
            HintSampling(**wrong)  # type: ignore[arg-type]


def test_shares_are_as_configured() -> None:
    random = np.random.default_rng(0)
    config = HintSampling(share=0.8, unrelated_share=0.25, drop_probability=0.0, max_others=3)
    texts = ["他在北京大学读书", "今天天气很好我们去公园", "上海图书馆没有开门", "我的朋友喜欢音乐"] * 500
    drawn = draw_hints(texts, config, random)
    with_own = [any(hint in text for hint in hints) for text, hints in zip(texts, drawn, strict=True)]
    # Others' keywords are drawn none to three times, so a quarter of the foreign prompts stay empty.
    assert np.mean([bool(hints) for hints in drawn]) == pytest.approx(0.8 * (1 - 0.25 * 0.33), abs=0.05)
    assert np.mean(with_own) == pytest.approx(0.8 * 0.75, abs=0.04)
    assert all(len(set(hints)) == len(hints) <= 5 for hints in drawn)


def test_keywords_bring_what_sounds_like_them() -> None:
    keywords = KeywordSet(["北京", "背景", "天气", "大学", "音乐"])
    config = HintSampling(
        share=1.0, unrelated_share=0.0, drop_probability=0.0, distractor_probability=1.0, max_others=0
    )
    for seed in range(5):
        (hints,) = draw_hints(["我在北京"], config, np.random.default_rng(seed), keywords)
        assert sorted(hints) == sorted(["北京", "背景"])


def test_a_dropped_keyword_stays_out_and_leaves_its_distractor() -> None:
    keywords = KeywordSet(["北京", "背景", "天气"])
    config = HintSampling(
        share=1.0, unrelated_share=0.0, drop_probability=1.0, distractor_probability=1.0, max_others=5
    )
    for seed in range(20):
        (hints,) = draw_hints(["我在北京"], config, np.random.default_rng(seed), keywords)
        assert "北京" not in hints and "背景" in hints


def test_a_share_of_the_keywords_is_dropped() -> None:
    keywords = KeywordSet(["北京", "天气"])
    config = HintSampling(share=1.0, unrelated_share=0.0, distractor_probability=0.0, max_others=0)
    drawn = draw_hints(["北京天气"] * 2000, config, np.random.default_rng(0), keywords)
    assert np.mean([len(hints) for hints in drawn]) == pytest.approx(2 * 0.8, abs=0.06)


def test_a_draw_is_fixed_by_its_generator_and_none_are_drawn_for_nothing() -> None:
    one, two = (draw_hints(TEXTS, HintSampling(), np.random.default_rng(3)) for _ in range(2))
    assert one == two
    assert draw_hints(TEXTS, HintSampling(share=0.0), np.random.default_rng(3)) == ((),) * len(TEXTS)


@pytest.mark.parametrize(
    "values", [{"share": 1.5}, {"unrelated_share": -0.1}, {"max_own": 0}, {"max_hints": 21}]
)
def test_impossible_shares(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"probabilities|one to"):
        HintSampling(**values)  # type: ignore[arg-type]


def test_a_keyword_is_not_kept_from_the_hints_by_letters_of_another_word() -> None:
    """ "lee" is no part of "asleep": it may be among the hints of what was not said."""
    keywords = KeywordSet(["lee", "asleep"])
    config = HintSampling(share=1.0, drop_probability=0.0, distractor_probability=0.0, max_others=5)
    drawn = [draw_hints(["he fell asleep"], config, np.random.default_rng(i), keywords)[0] for i in range(40)]
    assert any("lee" in hints for hints in drawn) and any("asleep" in hints for hints in drawn)
    said = [draw_hints(["lee's home"], config, np.random.default_rng(i), keywords)[0] for i in range(40)]
    assert any("lee" in hints for hints in said)
