"""Make the clips in demo/ with Kokoro's voices: python tools/make_demo_clips.py KOKORO

The seed draws four of the sentences below in each language, and a voice for each. Neither the sentences nor
the voices are in nano's training data, and nobody chose them for what nano makes of them.
"""

import argparse
import json
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.data.synthesis.kokoro import Kokoro

SEED = 2026
COUNT = 4
SENTENCES = {
    "en": [
        "Could you turn the music down a little, please?",
        "My brother works at the hospital on weekends.",
        "We ran out of coffee, so I bought some tea.",
        "The last bus leaves at a quarter past eleven.",
        "She forgot her umbrella on the train again.",
        "Let me know when the package arrives.",
        "There is a small bakery around the corner.",
        "I have never seen so many stars in one night.",
        "He asked whether the meeting could start earlier.",
        "Please leave the keys with the neighbors.",
        "It rained all day, but we went for a walk anyway.",
        "How long does it take to get to the airport?",
    ],
    "zh": [
        "今天下午我们一起去公园散步，好吗？",
        "她把钥匙忘在办公室里了。",
        "请问去火车站怎么走？",
        "昨天晚上下了一场大雨。",
        "我想要一杯热咖啡，不加糖。",
        "他们下个月打算搬到南方去。",
        "这本书我已经看了两遍。",
        "孩子们在院子里玩得很开心。",
        "会议改到明天上午十点。",
        "你能帮我拿一下行李吗？",
        "冬天的早晨外面很安静。",
        "爷爷每天早上都去河边钓鱼。",
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the clips in demo/.")
    parser.add_argument("kokoro", type=Path, help="the folder with Kokoro")
    speakers = Kokoro(parser.parse_args().kokoro)
    folder = Path(__file__).parent.parent / "demo"
    random = Random(SEED)
    quiet = np.zeros(SAMPLE_RATE // 4, np.float32)
    rows = []
    for language, sentences in SENTENCES.items():
        for number, text in enumerate(random.sample(sentences, COUNT), 1):
            voice, samples = speakers.say(text, language, random)
            clip = folder / f"{language}-{number}.flac"
            soundfile.write(clip, np.concatenate([quiet, samples, quiet]), SAMPLE_RATE)
            rows.append({"audio": clip.name, "text": text, "language": language, "speaker": voice})
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "manifest.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
