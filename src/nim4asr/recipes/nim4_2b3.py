"""nim4-2.3b: the network of the paper, about 2.3 billion parameters.

The encoder's shape is ours where the paper gives only its size: 14 blocks of 1280. The language model is
Qwen3-1.7B's shape, so that its public weights start it.
"""

from nim4asr.model.adaptor import AdaptorConfig
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.encoder import EncoderConfig
from nim4asr.model.phoneme_head import PhonemeHeadConfig

NAME = "nim4-2.3b"
LANGUAGE_MODEL = "Qwen/Qwen3-1.7B"


def network() -> Nim4Config:
    """The configuration of the network."""
    return Nim4Config(
        name=NAME,
        encoder=EncoderConfig(model_dim=1280, blocks=14, heads=20, kernel_size=33),
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
