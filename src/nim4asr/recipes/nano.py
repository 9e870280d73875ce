"""nano: the same architecture, small enough to train on two cores and to ship with the library."""

from dataclasses import replace
from pathlib import Path

from nim4asr.data.augmentation import AugmentationConfig
from nim4asr.data.keywords import KeywordConfig
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.model.prompt import PromptConfig
from nim4asr.model.shapes import AdaptorConfig, ConformerConfig, PhonemeHeadConfig
from nim4asr.recipes import NANO
from nim4asr.training.async_sft.schedule import SwapConfig
from nim4asr.training.async_sft.stage import AsyncIaSft
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.optimizer import OptimizerConfig
from nim4asr.training.recipe import CorpusConfig, Recipe, SyntheticCorpus
from nim4asr.training.speech import SpeechData
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.context_sft import ContextSft
from nim4asr.training.stages.flat_start import FlatStart
from nim4asr.training.stages.hints import HintSampling
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.mixed_text import MixedText
from nim4asr.training.stages.phoneme_head import PhonemeHeadTuning
from nim4asr.training.stages.pretraining import ChunkSampling, Pretraining
from nim4asr.training.stages.rl import Rl
from nim4asr.training.stages.text_pretraining import TextPretraining

VOCABULARY = 6000


def network(vocabulary: int = VOCABULARY) -> Nim4Config:
    """The configuration of the network, for a tokenizer of ``vocabulary`` tokens."""
    return Nim4Config(
        name=NANO,
        encoder=ConformerConfig(
            model_dim=192,
            blocks=7,
            heads=4,
            kernel_size=15,
            subsampling_channels=16,
            # A few passes over tens of hours do not overfit 7 M parameters; SpecAugment is enough.
            dropout=0.0,
        ),
        adaptor=AdaptorConfig(encoder_dim=192, llm_dim=256, hidden_dim=512),
        phoneme_head=PhonemeHeadConfig(encoder_dim=192, hidden_dim=384),
        llm={
            "model_type": "qwen3",
            "vocab_size": vocabulary,
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": 2048,
            "rope_theta": 10000.0,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True,
        },
        # Every token of wording is one that the small model must attend around.
        prompt=PromptConfig(system="", task="", hints="\n", separator=","),
        # So small a language model strays from the sound; the phoneme head keeps it there.
        # Of sounds that it never heard, its head hears a little of many phonemes: 1.7 nats a frame and more.
        decoding=DecodingConfig(beam_size=8, max_entropy=1.7),
        # Fitted to the phoneme head of the bundled weights, by tools/fit_evidence.py.
        evidence=EvidenceConfig(gain=1.07, trust=0.49, doubt=0.24, size=0.74, bias=3.5),
    )


def recipe(data: Path) -> Recipe:
    """The whole training of nano from the corpora in ``data``: about six hours on two cores.

    Not the paper's order of magnitude, so not its order either: the encoder first hears single words, whose
    phonemes lie evenly in them until CTC finds their places, then short sentences, then everything. The
    language model, which nothing pre-trained, learns to write simulated phonemes (text pre-training) before
    it meets real ones.
    """
    speech, text = data / "speech", data / "text"

    def loop(steps: int, peak_lr: float, final_share: float = 0.0, clip: float = 5.0) -> LoopConfig:
        optimizer = OptimizerConfig(peak_lr, clip_norm=clip)
        # A state every five minutes or so: runs of this length are cut.
        return LoopConfig(steps, optimizer, 50, final_lr_ratio=final_share, checkpoint_every=100)

    plain = AugmentationConfig(noise=None, frequency_masks=1, frequency_width=10, time_masks_per_second=0.0)
    mild = AugmentationConfig(frequency_masks=1, frequency_width=16, time_masks_per_second=0.5, time_width=15)

    def words(steps: int, seconds: float, longest: float) -> Pretraining:
        heard = SpeechData(seconds, longest, augmentation=plain)
        return Pretraining(loop(steps, 2e-3, 0.9), heard, views=1, chunks=ChunkSampling(1.0))

    def spoken(seconds: float = 64.0, empty: float = 0.03, longer: float = 1.0) -> SpeechData:
        return SpeechData(seconds, 13.0, long_s=6.0, long_weight=longer, empty_share=empty, augmentation=mild)

    # There is no language model yet that knows how to read a list, so hints are there from the first long
    # texts on.
    hints = HintSampling(share=0.5)
    # What text the stages have that go in turns with it; the loop is theirs.
    texts = TextPretraining(loop(1, 1e-3), 2600, 110, hints=hints)
    # Sentences out of English articles (tools/collect_sentences.py, docs/training.md), where there are any.
    articles = text / "en_articles.txt.gz"
    return Recipe(
        network=network,
        vocabulary=VOCABULARY,
        corpora={
            "cv_zh": CorpusConfig(speech / "cv_zh.jsonl", 1.5),
            "speechocean762": CorpusConfig(speech / "speechocean762.jsonl", 3.0),
            "ljspeech": CorpusConfig(speech / "ljspeech.jsonl", 0.5),
            "audio_cmn": CorpusConfig(speech / "audio_cmn.jsonl", 0.3),
            "dspspeech20": CorpusConfig(speech / "dspspeech20.jsonl", 0.1),
            "fsdd": CorpusConfig(speech / "fsdd.jsonl", 0.2, dev_speakers=("lucas",)),
            "cv_en": CorpusConfig(speech / "cv_en.jsonl", 3.0),
        },
        texts=[
            *(text / name for name in ("zh.txt.gz", "en.txt.gz", "en_books.txt.gz")),
            *([articles] if articles.is_file() else []),
        ],
        noises=data / "noise/noise.tar",
        noises_left_out=("esc10/rain", "esc10/dog_bark", "background/kitchen", "background/dude_miaowing"),
        synthetic=SyntheticCorpus(
            texts={"zh": text / "zh.txt.gz", "en": text / "en.txt.gz"},
            sentences={"zh": 9000, "en": 7000},
        ),
        keywords=KeywordConfig(),
        stages={
            "flat-start": FlatStart(loop(150, 2e-3, 0.9), SpeechData(30.0, 2.0, augmentation=plain)),
            "pretraining-words": words(300, 30.0, 2.0),
            "pretraining-short": words(300, 48.0, 4.0),
            # On short texts first: there the language model finds which speech token is next.
            "text-pretraining-short": TextPretraining(loop(600, 3e-3, 0.5, 1.0), 2600, 14),
            "text-pretraining": TextPretraining(loop(800, 1e-3, clip=1.0), 2600, hints=hints),
            "ia-sft": AsyncIaSft(
                Pretraining(loop(1900, 2e-3), spoken(96.0, 0.0), views=1),
                Alignment(loop(250, 2e-3), spoken(120.0, 0.0), imitate=True),
                MixedText(IaSft(loop(800, 1e-3, clip=1.0), spoken(), hints=hints), texts),
                steps_per_snapshot=200,
                # A reference and two looks: an encoder that learns so fast is another one each time.
                swaps=SwapConfig(check_every_share=1 / 4),
            ),
            # Long, and at a rate at which errors rise before they fall: short and gentle, it taught nothing.
            "joint-sft": MixedText(
                JointSft(loop(1000, 1e-3, clip=1.0), spoken(), hints=hints), texts, text_share=1 / 3
            ),
            "context-sft": ContextSft(loop(60, 2e-4, clip=1.0), spoken(longer=2.0)),
            "rl": Rl(
                replace(loop(160, 1e-4, clip=1.0), log_every=5),
                SpeechData(24.0, 10.0, empty_share=0.03, augmentation=None),
            ),
            "phoneme-head": PhonemeHeadTuning(loop(40, 5e-4), spoken(48.0, 0.0)),
        },
        dev=("cv_zh", "speechocean762", "cv_en", "fsdd"),
        precision="auto",
        bootstrap_stages=("flat-start", "pretraining-words", "pretraining-short"),
    )


def longer(data: Path) -> Recipe:
    """More hours for a nano that is trained already: three hours on two cores with bfloat16 arithmetic.

    Its encoder hears everything several times more, in two views each (CR-CTC) and under all of SpecAugment,
    then everything learns together, in turns with text. English speech that another recognizer labeled
    (``speech/cv_en_labeled.jsonl``, docs/training.md) is taken where it is there. Begin with ``--init-model
    MODEL --start-stage pretraining``.
    """
    base = recipe(data)
    joint = base.stages["joint-sft"]
    assert isinstance(joint, MixedText) and isinstance(joint.speech, JointSft)

    def loop(steps: int, peak_lr: float, clip: float) -> LoopConfig:
        return LoopConfig(steps, OptimizerConfig(peak_lr, clip_norm=clip), checkpoint_every=150)

    # Clips of single words are a few per cent of all sound, and the first that a user tries.
    weights = {"cv_zh": 2.0, "ljspeech": 1.0, "dspspeech20": 0.2, "fsdd": 3.0}
    corpora = {
        name: replace(corpus, weight=weights.get(name, corpus.weight))
        for name, corpus in base.corpora.items()
    }
    labeled = data / "speech/cv_en_labeled.jsonl"
    if labeled.is_file():
        corpora["cv_en_labeled"] = CorpusConfig(labeled, 2.5)
    # Telephones too: without any of them, half the bandwidth doubles the errors.
    varied = AugmentationConfig(narrowband_share=0.15, noise_speeds=(0.5, 2.0))
    spoken = SpeechData(64.0, 13.0, long_s=6.0, empty_share=0.08, augmentation=varied)
    return replace(
        base,
        corpora=corpora,
        # The first recipe had it; what more of it would bring has not been measured.
        synthetic=None,
        stages={
            "pretraining": Pretraining(
                loop(5000, 9e-4, 5.0),
                SpeechData(60.0, 13.0, empty_share=0.01, augmentation=varied),
                dual_mode=True,
            ),
            "joint-sft": replace(
                joint, speech=replace(joint.speech, loop=loop(2500, 8e-4, 1.0), data=spoken), text_share=0.55
            ),
        },
        bootstrap_stages=(),
    )
