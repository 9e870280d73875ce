import pytest

from nim4asr.hotwords.hints import HintConfig, Hit, choose


def hit(text: str, start: float, end: float, evidence: float, phonemes: int = 6, category: str = "") -> Hit:
    return Hit(text, start, end, 1.0, True, phonemes, evidence, 1.0, category)


def texts(hits: list[Hit], config: HintConfig | None = None, draft: str = "") -> list[str]:
    return [one.text for one in choose(hits, config or HintConfig(), draft)]


def test_only_what_was_likelier_said_than_not() -> None:
    assert texts([hit("a", 0, 1, 0.1), hit("b", 2, 3, -0.1)]) == ["a"]
    assert texts([hit("a", 0, 1, 0.1), hit("b", 2, 3, -0.1)], HintConfig(min_log_odds=-1)) == ["a", "b"]


def test_the_best_of_those_that_overlap_has_the_place() -> None:
    rivals = [hit("a", 0, 1, 1.0), hit("b", 0.5, 1.5, 3.0), hit("c", 1.5, 2, 2.0)]
    assert texts(rivals) == ["b", "c"]


def test_what_sounds_the_same_shares_a_place_if_its_tones_fit_as_well() -> None:
    assert texts([hit("a", 0, 1, 2.0), hit("b", 0, 1, 1.8)]) == ["a", "b"]
    assert texts([hit("a", 0, 1, 2.0), hit("b", 0, 1, 1.2)]) == ["a"]


def test_what_the_model_was_about_to_write_needs_no_hint() -> None:
    heard = [hit("北京", 0, 1, 2.0), hit("Nio", 2, 3, 1.0)]
    assert texts(heard, draft="去北京") == ["Nio"]
    assert texts(heard, draft="北京的nio") == []
    # Letters inside another word are no name: who said it needs the hint all the same.
    english = [hit("Lee", 0, 1, 2.0), hit("Ann", 2, 3, 1.0)]
    assert texts(english, draft="he fell asleep planning") == ["Lee", "Ann"]
    assert texts(english, draft="lee's plan, said Ann") == []


def test_hits_that_are_equal_are_one() -> None:
    assert texts([hit("a", 0, 1, 1.0), hit("a", 0, 1, 1.0)]) == ["a"]


def test_at_most_so_many_and_each_once() -> None:
    many = [hit(f"n{i % 30}", i, i + 1, i / 100) for i in range(60)]
    chosen = texts(many)
    assert len(chosen) == len(set(chosen)) == 20
    assert chosen[0] == "n29"
    assert texts(many, HintConfig(max_hints=0)) == []


@pytest.mark.parametrize(("bonus", "expected"), [(0.0, []), (1.0, ["a"])])
def test_a_category_can_be_favoured(bonus: float, expected: list[str]) -> None:
    config = HintConfig(category_bias={"city": bonus})
    assert texts([hit("a", 0, 1, -0.5, category="city")], config) == expected
