"""nim4-2.3b: the network of the paper, about 2.3 billion parameters.

The encoder's shape is ours where the paper gives only its size: 14 blocks of 1280. The language model is
Qwen3-1.7B's shape, so that its public weights start it.
"""

from pathlib import Path

from nim4asr.data.keywords import KeywordConfig
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.shapes import AdaptorConfig, ConformerConfig, PhonemeHeadConfig
from nim4asr.recipes import NIM4_2B3
from nim4asr.recipes.corpora import every_manifest, noises_of
from nim4asr.training.async_sft.stage import AsyncIaSft
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.optimizer import OptimizerConfig
from nim4asr.training.recipe import CorpusConfig, Recipe
from nim4asr.training.speech import SpeechData
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.context_sft import ContextSft
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.phoneme_head import PhonemeHeadTuning
from nim4asr.training.stages.pretraining import Pretraining
from nim4asr.training.stages.rl import Rl

LANGUAGE_MODEL = "Qwen/Qwen3-1.7B"
# For so many devices the steps below are meant: one machine of the usual kind.
DEVICES = 8
# A sample of RL lasts so long on average (ours).
SAMPLE_SECONDS = 8.0


def network() -> Nim4Config:
    """The configuration of the network."""
    return Nim4Config(
        name=NIM4_2B3,
        encoder=ConformerConfig(model_dim=1280, blocks=14, heads=20, kernel_size=33),
        adaptor=AdaptorConfig(encoder_dim=1280, llm_dim=2048),
        phoneme_head=PhonemeHeadConfig(encoder_dim=1280, hidden_dim=1280),
        llm={
            "model_type": "qwen3",
            "vocab_size": 151936,
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 40960,
            "rope_theta": 1000000.0,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True,
        },
    )


def steps_for(hours: float, batch_seconds: float) -> int:
    """Steps in which ``DEVICES`` devices, with ``batch_seconds`` each a step, hear ``hours`` once.

        steps = 3600 hours / (batch_seconds * devices)

    Of pre-training's 560,000 hours, in batches of 120 s, that makes 2.1 M; the paper says 2 M.
    """
    return round(3600 * hours / (batch_seconds * DEVICES))


def recipe(data: Path) -> Recipe:
    """The paper's table over every manifest in ``data/speech``, with the noises of ``data/noise/noise.tar``
    if it is there.

    From the paper: the stages, their order, the peak learning rates, the warm-up, 2 M steps of pre-training,
    1.3 M of alignment, and rounds of 1 M, 1 M and 2 M steps of IA-SFT. Ours: the seconds of a batch, which
    fit one 80 GB device, and the steps of the stages for which the paper gives hours alone (``steps_for``).
    Raises ``InputError`` if there is no manifest.
    """
    manifests = every_manifest(data)

    def loop(steps: int, peak_lr: float, warmup: int = 10_000) -> LoopConfig:
        adam = OptimizerConfig(peak_lr, muon=False, weight_decay=0.01, clip_norm=1.0)
        return LoopConfig(
            steps, adam, warmup, log_every=100, evaluate_every=10_000, checkpoint_every=2000, data_workers=8
        )

    def spoken(seconds: float, longer: float = 1.0) -> SpeechData:
        return SpeechData(seconds, 30.0, long_weight=longer, empty_share=0.025)

    return Recipe(
        network=lambda vocabulary: network(),
        language_model=LANGUAGE_MODEL,
        corpora={manifest.stem: CorpusConfig(manifest, stored=False) for manifest in manifests},
        noises=noises_of(data),
        keywords=KeywordConfig(),
        precision="bf16",
        saved_dtype="bfloat16",
        stages={
            "ia-sft": AsyncIaSft(
                Pretraining(loop(2_000_000, 5e-4), SpeechData(120.0, 30.0)),
                Alignment(loop(1_300_000, 1e-3), spoken(120.0)),
                IaSft(loop(2_000_000, 1e-5), spoken(90.0)),
                steps_per_snapshot=1_000_000,
            ),
            "joint-sft": JointSft(loop(steps_for(560_000, 60.0), 1e-5), spoken(60.0)),
            "context-sft": ContextSft(loop(steps_for(50_000, 60.0), 1e-6), spoken(60.0, 3.0)),
            # 20,000 samples.
            "rl": Rl(
                loop(steps_for(20_000 * SAMPLE_SECONDS / 3600, 40.0), 2e-6, 0),
                SpeechData(40.0, 30.0, empty_share=0.025, augmentation=None),
            ),
            "phoneme-head": PhonemeHeadTuning(loop(steps_for(560_000, 120.0), 5e-4), SpeechData(120.0, 30.0)),
        },
        dev=tuple(manifest.stem for manifest in manifests),
    )
