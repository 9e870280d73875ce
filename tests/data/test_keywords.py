import json
import urllib.error
import urllib.request

import numpy as np
import pytest

from nim4asr.data.keywords import KeywordConfig, KeywordSet, filtered, keywords_of, sound_of
from nim4asr.errors import InputError


def test_keywords_are_found_in_their_order_the_longest_first() -> None:
    keywords = KeywordSet(["北京", "北京大学", "大学", "天气", "new york", "york"])
    assert keywords.within("我在北京大学看天气") == ["北京大学", "天气"]
    assert keywords.within("北京的大学在北京") == ["北京", "大学"]
    assert keywords.within("from new york to york") == ["new york", "york"]
    # No part of a longer word, in a Chinese sentence either.
    assert KeywordSet(["port", "北京"]).within("我在北京的airport和port见") == ["北京", "port"]
    assert KeywordSet(["port"]).within("the airport") == []
    assert keywords.within("什么也没有") == keywords.within("") == []


def test_what_sounds_alike_comes_first_and_what_is_far_not_at_all() -> None:
    keywords = KeywordSet(["北京", "背景", "北境", "倍进", "天气", "上海"])
    random = np.random.default_rng(0)
    # Of the same sounds but for tones: 背景 and 北境; one phoneme away: 倍进.
    assert sound_of("北京") == sound_of("背景") == sound_of("北境") != sound_of("倍进")
    for _ in range(5):
        assert set(keywords.alike("北京", random, 2)) == {"背景", "北境"}
    assert set(keywords.alike("北京", random, 9)) == {"背景", "北境", "倍进"}
    assert keywords.alike("上海", random) == []
    # A keyword that is not in the set is listened to as well.
    assert set(keywords.alike("背静", random, 3)) == {"北京", "背景", "北境"}


def test_keywords_without_a_sound_are_left_out() -> None:
    keywords = KeywordSet(["。", "北京"])
    assert list(keywords) == ["北京"] and "。" not in keywords
    assert KeywordSet().draw(np.random.default_rng(0)) is None


def test_keywords_of_transcripts_are_nouns_and_names() -> None:
    texts = [
        "我在北京大学学习历史",
        "王小明喜欢音乐",
        "他们很快地跑了",
        "what do you want to learn about biology",
    ]
    found = keywords_of(texts, KeywordConfig(max_text_share=1.0))
    assert {"北京大学", "历史", "音乐", "biology", "learn"} <= set(found)
    assert not {"我", "在", "喜欢", "很快", "跑", "do", "you"} & set(found)


def test_common_words_are_no_keywords() -> None:
    texts = ["他喜欢音乐"] * 50 + ["她学习历史"]
    assert keywords_of(texts, KeywordConfig(max_text_share=0.1)) == ["历史"]


def test_transcripts_without_a_keyword() -> None:
    with pytest.raises(InputError, match="no keyword in 2 transcripts"):
        keywords_of(["我是", "a b"])


def test_an_endpoint_filters_in_batches() -> None:
    asked: list[dict[str, object]] = []

    def ask(request: urllib.request.Request) -> object:
        assert request.full_url == "http://here/v1/chat/completions"
        assert request.get_header("Authorization") == "Bearer secret"
        assert isinstance(request.data, bytes)
        body = json.loads(request.data)
        asked.append(body)
        given = json.loads(body["messages"][0]["content"].splitlines()[-1])
        kept = [one for one in given if one != "东西"]
        return {"choices": [{"message": {"content": f"Here: {json.dumps([*kept, '别的'])}"}}]}

    kept = filtered(["北京", "东西", "上海"], "http://here/v1/", "some-model", "secret", batch=2, ask=ask)
    assert kept == ["北京", "上海"]
    assert len(asked) == 2 and asked[0]["model"] == "some-model"


def test_an_endpoint_that_does_not_help() -> None:
    def down(request: urllib.request.Request) -> object:
        raise urllib.error.URLError("refused")

    with pytest.raises(InputError, match="does not answer"):
        filtered(["北京"], "http://here/v1", "m", ask=down)
    with pytest.raises(InputError, match="no JSON list"):
        filtered(["北京"], "http://here/v1", "m", ask=lambda _: {"choices": [{"message": {"content": "no"}}]})


def test_keywords_come_in_one_order() -> None:
    """Not in that of a set, which is another in every process: training draws from this list."""
    words = ["aardvark", "bulldozer", "cormorant", "dulcimer", "escalator", "flamingo"]
    assert keywords_of([" ".join(words)]) == words


def test_keywords_are_whole_words_in_mixed_text_too() -> None:
    keywords = KeywordSet(["ann", "lee", "北京", "new york", "五g"])
    assert keywords.within("planning to sleep") == []
    assert keywords.within("我和ann在new york用5g想北京") == ["ann", "new york", "五g", "北京"]
    assert keywords.within("ann's lee") == ["ann", "lee"]
