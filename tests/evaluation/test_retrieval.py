from typing import Any

from nim4asr.evaluation.retrieval import Spoken, retrieval
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.hotwords.names import Name
from nim4asr.hotwords.search import certain
from nim4asr.phonemes import TABLE, pronounce


def spoken(text: str, heard: str | None = None) -> Spoken:
    return Spoken(text, certain(TABLE.encode(pronounce(heard or text))))


def test_precision_recall_and_time() -> None:
    index = HotwordIndex()
    index.add([Name("天安门广场"), Name("重庆大学"), Name("张伟东")])
    # The second is not heard; the third is heard though another was said.
    found: Any = retrieval(
        index, [spoken("我在天安门广场"), spoken("重庆大学", "他是谁"), spoken("今天很好", "张伟东很好")]
    )
    assert (found["names"], found["utterances"], found["names_said"]) == (3, 3, 2)
    at_zero = next(row for row in found["near_paths"] if row["least"] == 0)
    assert (at_zero["hints"], at_zero["precision"], at_zero["recall"]) == (2, 0.5, 0.5)
    assert found["best_path_all"]["hints"] == 2
    perfect = found["perfect_phonemes"]
    assert (perfect["precision"], perfect["recall"], found["perfect_phonemes_found"]) == (1.0, 1.0, 1.0)
    assert 0 < found["search_milliseconds"]["p50"] <= found["search_milliseconds"]["p99"]


def test_nothing_to_find() -> None:
    index = HotwordIndex()
    index.add([Name("天安门")])
    found: Any = retrieval(index, [])
    assert found["search_milliseconds"] is None and found["near_paths"][0]["precision"] is None
