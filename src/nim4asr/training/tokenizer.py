"""A small tokenizer for a language model trained from scratch: Chinese characters and English pieces."""

from collections.abc import Iterable

from nim4asr.model.tokenizer import TURN_END, TURN_START, Tokenizer

# A Chinese character (``nim4asr.text.characters.HAN``) in the syntax of this library's regular expressions.
_HAN = r"[\u3007\u3400-\u4dbf\u4e00-\u9fff\x{20000}-\x{323af}]"
_SPECIAL = ("<|endoftext|>", "<unk>", TURN_START, TURN_END)
_ROLES = ("system", "user", "assistant", "\n")


def train_tokenizer(texts: Iterable[str], size: int, least: int = 2) -> Tokenizer:
    """Byte-pair encoding in which no Chinese character ever joins another.

    ``size`` is that of the vocabulary; characters seen fewer than ``least`` times are unknown.
    """
    from collections import Counter

    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Inner

    texts = list(texts)
    seen = Counter(character for text in texts for character in text)
    alphabet = sorted(c for c, count in seen.items() if count >= least and c != " ")
    tokenizer = Inner(models.BPE(unk_token="<unk>"))
    # A space is marked on the word after it, so that text comes back with its spaces.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="never"),
            pre_tokenizers.Split(Regex(_HAN), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(_SPECIAL),
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet) + 1,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(role, normalized=False) for role in _ROLES])
    return Tokenizer(
        tokenizer,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": TURN_END,
            "pad_token": "<|endoftext|>",
            "unk_token": "<unk>",
            "clean_up_tokenization_spaces": False,
        },
    )
