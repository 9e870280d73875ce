"""The page in a real Chromium, with a microphone that hears the clips."""

import shutil
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import soxr

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.hotwords.names import Name
from nim4asr.serving.hotword_lists import HotwordLists
from serving.conftest import Running

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("playwright") is None or CHROMIUM is None, reason="needs Playwright and Chromium"
    ),
]


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of silence, two clips with pauses after them, and silence."""
    silence = np.zeros(20_000, np.float32)
    sound = np.concatenate(
        [
            silence,
            *(
                part
                for clip in ("en-1", "zh-1")
                for part in (read_audio(CLIP_FOLDER / f"{clip}.flac"), silence)
            ),
        ]
    )
    path = tmp_path_factory.mktemp("microphone") / "microphone.wav"
    soundfile.write(path, soxr.resample(sound, 16_000, 48_000), 48_000, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def browse(microphone: Path) -> Iterator[Callable[..., "Page"]]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone}%noloop",
            ],
        )

        def browse(url: str, **options: Any) -> "Page":
            page = browser.new_context(**{"locale": "en-US", **options}).new_page()
            problems = page.problems = []  # type: ignore[attr-defined]
            page.on("console", lambda message: message.type == "error" and problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(url)
            until(page, "document.getElementById('model').textContent !== ''")
            return page

        yield browse
        browser.close()


def until(page: "Page", expression: str, seconds: float = 10.0) -> None:
    """Wait for a JavaScript expression to be true. (The page's own policy forbids ``wait_for_function``.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def text_of(page: "Page") -> list[str]:
    return page.eval_on_selector_all("#text p > span", "spans => spans.map(span => span.textContent)")


def test_speech_becomes_text_while_it_is_said(nano: Running, browse: Callable[..., "Page"]) -> None:
    page = browse(nano.url)
    page.fill("#names", "中国人")
    page.click("#microphone")
    until(page, "document.querySelectorAll('#text .volatile').length > 0", 20)
    until(page, "document.querySelectorAll('#text .word').length >= 6", 30)
    page.click("#microphone")
    until(page, "document.getElementById('microphone').ariaPressed === 'false'", 10)
    assert text_of(page) == ["what do you want", "他是中国人"]
    # The name that was heard is marked where it was.
    assert (
        "".join(page.eval_on_selector_all("#text .hit", "all => all.map(one => one.textContent)")) == "中国人"
    )
    assert "ms" in page.inner_text("#delay")
    with page.expect_download() as download:
        page.click("[data-format=srt]")
    assert "what do you want" in Path(download.value.path()).read_text(encoding="utf-8")
    page.click("#text .word")
    until(page, "document.querySelectorAll('.playing').length === 1")
    assert page.problems == []  # type: ignore[attr-defined]
    assert nano.state.worker.live_streams == 0


def test_a_file_is_recognized(nano: Running, browse: Callable[..., "Page"]) -> None:
    page = browse(nano.url, color_scheme="dark", locale="zh-CN", viewport={"width": 390, "height": 800})
    assert page.inner_text("#microphone").strip() == "开始说话"
    page.set_input_files("#file", CLIP_FOLDER / "zh-2.flac")
    page.wait_for_selector("#text .word")
    assert text_of(page) == ["我不知道"]
    # Nothing is wider than a phone.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("#clear")
    assert text_of(page) == []
    page.set_input_files("#file", {"name": "none.wav", "mimeType": "audio/wav", "buffer": b"no sound"})
    page.wait_for_selector("#status.wrong")
    assert "not audio" in page.inner_text("#status")
    # Chromium itself reports the refused request; nothing else may be wrong.
    assert all("400" in problem for problem in page.problems)  # type: ignore[attr-defined]


def test_manual_turns_and_lists_of_the_server(
    serve: Callable[..., Any], browse: Callable[..., "Page"]
) -> None:
    index = HotwordIndex()
    index.add([Name("中国人")])
    lists = HotwordLists()
    lists.put("people", "中国人\n".encode())
    with serve(None, lists) as server:
        page = browse(server.url)
        assert page.inner_text("#list").split("\n")[-1].startswith("people (1)")
        page.select_option("#list", "people")
        page.click("summary")
        page.check("#manual")
        page.click("#microphone")
        until(page, "document.querySelector('#text p')?.textContent.includes('want')", 30)
        page.wait_for_timeout(4000)
        page.click("#microphone")
        page.wait_for_selector("#text .word", timeout=15_000)
        assert "".join(text_of(page)).replace(" ", "") == "whatdoyouwant他是中国人"
        assert page.problems == []  # type: ignore[attr-defined]
