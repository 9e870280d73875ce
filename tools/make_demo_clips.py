"""Make the clips in demo/ with espeak-ng and flite: python tools/make_demo_clips.py"""

from pathlib import Path

import numpy as np
import soundfile

from nim4asr.audio.features import SAMPLE_RATE
from nim4asr.data.synthesis.programs import Voice, synthesize

CLIPS = {
    "en-1": ("what do you want", Voice("flite", "rms", 150)),
    "en-2": ("where are you going", Voice("espeak-ng", "en-us+m3", 150, 50)),
    "zh-1": ("他是中国人", Voice("espeak-ng", "cmn-latn-pinyin+m3", 130, 50)),
    "zh-2": ("我不知道", Voice("espeak-ng", "cmn-latn-pinyin", 140, 50)),
}


def main() -> None:
    folder = Path(__file__).parent.parent / "demo"
    folder.mkdir(exist_ok=True)
    for name, (text, voice) in CLIPS.items():
        quiet = np.zeros(SAMPLE_RATE // 4, np.float32)
        samples = np.concatenate([quiet, synthesize(text, voice), quiet])
        soundfile.write(folder / f"{name}.flac", samples, SAMPLE_RATE)


if __name__ == "__main__":
    main()
