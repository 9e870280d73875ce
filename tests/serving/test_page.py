"""The page in a real Chromium, with a microphone that hears the clips.

Where a test is about what the page does when the server is late, refuses or goes, it plays the server of the
socket itself (``Script``), and nothing waits for a clock.
"""

import json
import shutil
import threading
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
from nim4asr.audio.reading import stream_audio as genuine_stream_audio
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.hotwords.names import Name
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.hotword_lists import HotwordLists
from serving.conftest import PATIENCE_S, Running, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Page, WebSocketRoute

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("playwright") is None or CHROMIUM is None, reason="needs Playwright and Chromium"
    ),
]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
IDLE = "document.getElementById('microphone').textContent.trim() === 'Speak'"
Browse = Callable[..., "Page"]


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
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips with pauses after them."""
    clips = [read_audio(CLIP_FOLDER / f"{clip}.flac") for clip in ("en-1", "zh-1", "en-2")]
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    silence = np.zeros(20_000, np.float32)
    soundfile.write(path, np.concatenate([part for clip in clips for part in (clip, silence)]), 16_000)
    return path


@pytest.fixture(scope="module")
def browse(microphone: Path) -> Iterator[Browse]:
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

        def browse(url: str, before: Callable[["Page"], Any] | None = None, **options: Any) -> "Page":
            page = browser.new_context(**{"locale": "en-US", **options}).new_page()
            page.set_default_timeout(PATIENCE_S * 1000)
            problems = page.problems = []  # type: ignore[attr-defined]
            page.on("console", lambda message: message.type == "error" and problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            if before:
                before(page)
            page.goto(url)
            until(page, "document.getElementById('model').textContent !== ''")
            return page

        yield browse
        browser.close()


class Script:
    """Plays the server of the page's sockets: keeps what the page sends, sends what the test says."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.route: WebSocketRoute | None = None

    def take(self, page: "Page") -> None:
        page.route_web_socket("**/v1/realtime*", self._begun)

    def _begun(self, route: "WebSocketRoute") -> None:
        self.route = route
        route.on_message(lambda message: self.sent.append(json.loads(message)))

    def say(self, kind: str, item: str | None = None, **fields: Any) -> None:
        assert self.route is not None
        self.route.send(json.dumps({"type": kind, **({"item_id": item} if item else {}), **fields}))

    def speech(self, item: str, start_ms: int, stable: str, volatile: str = "") -> None:
        self.say("input_audio_buffer.speech_started", item, audio_start_ms=start_ms)
        self.say("nim4.hypothesis", item, stable=stable, volatile=volatile, audio_end_ms=start_ms + 100)

    def complete(self, item: str, text: str) -> None:
        self.say("nim4.words", item, words=[{"text": text, "start_ms": 0, "end_ms": 100}])
        self.say("conversation.item.input_audio_transcription.completed", item, transcript=text)

    def fail(self, code: str, message: str) -> None:
        self.say(
            "error", error={"code": code, "message": message, "type": "x", "param": None, "event_id": None}
        )

    def kinds(self) -> list[str]:
        return [row["type"].removeprefix("input_audio_buffer.") for row in self.sent]


def until(page: "Page", condition: str | Callable[[], Any]) -> None:
    """Wait for a JavaScript expression, or something here, to be true. (The page's own policy forbids
    ``wait_for_function``.)
    """
    end = time.monotonic() + PATIENCE_S
    while not (condition() if callable(condition) else page.evaluate(condition)):
        assert time.monotonic() < end, (condition, page.problems)  # type: ignore[attr-defined]
        page.wait_for_timeout(20)


def text_of(page: "Page") -> list[str]:
    return page.eval_on_selector_all("#text p > span", "spans => spans.map(span => span.textContent)")


def listen(page: "Page", script: Script) -> None:
    """Press Speak, and wait for the sound to come."""
    script.sent.clear()
    page.click("#microphone")
    until(page, lambda: "append" in script.kinds())


def test_speech_becomes_text_while_it_is_said(nano: Running, browse: Browse) -> None:
    page = browse(nano.url)
    page.fill("#names", "中国人")
    page.click("#microphone")
    until(page, "document.querySelectorAll('#text .volatile').length > 0")
    until(page, "document.querySelectorAll('#text .word').length >= 6")
    assert "s behind" in page.inner_text("#delay")
    page.click("#microphone")
    until(page, IDLE)
    assert text_of(page) == ["what do you want", "他是中国人"]
    assert "recognized" in page.inner_text("#status")
    # The name that was heard is marked where it was.
    assert (
        "".join(page.eval_on_selector_all("#text .hit", "all => all.map(one => one.textContent)")) == "中国人"
    )
    with page.expect_download() as download:
        page.click("[data-format=srt]")
    assert "what do you want" in Path(download.value.path()).read_text(encoding="utf-8")
    # The sound is heard again from a word on, and the playhead goes with it from word to word.
    page.click("#text .word")
    until(page, "document.querySelector('.playing')?.textContent === 'want'")
    page.click("#play")
    until(page, "document.getElementById('play').ariaPressed === 'false'")
    assert page.problems == []  # type: ignore[attr-defined]
    assert nano.state.worker.live_streams == 0


def test_a_file_is_recognized(nano: Running, browse: Browse) -> None:
    page = browse(nano.url, color_scheme="dark", locale="zh-CN", **PHONE)
    assert page.inner_text("#microphone").strip() == "开始说话"
    page.set_input_files("#file", CLIP_FOLDER / "zh-2.flac")
    page.wait_for_selector("#text .word")
    until(page, "document.getElementById('cancel').hidden")
    assert text_of(page) == ["我不知道"] and "zh-2.flac" in page.inner_text("#status")
    # Nothing is wider than a phone.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("#clear")
    assert text_of(page) == []
    page.set_input_files("#file", {"name": "none.wav", "mimeType": "audio/wav", "buffer": b"no sound"})
    page.wait_for_selector("#status.wrong")
    told = page.inner_text("#status")
    assert told.startswith("none.wav：") and "不是可以读取的音频" in told
    page.click("#language")
    assert page.inner_text("#status").startswith("none.wav: ") and "服务器" not in page.inner_text("#status")
    # Chromium itself reports the refused request; nothing else may be wrong.
    assert all("400" in problem for problem in page.problems)  # type: ignore[attr-defined]


def test_manual_turns_and_lists_of_the_server(serve: Callable[..., Any], browse: Browse) -> None:
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
        until(page, "document.querySelector('#text p')?.textContent.endsWith('中国人')")
        page.click("#microphone")
        until(page, IDLE)
        assert "".join(text_of(page)).replace(" ", "") == "whatdoyouwant他是中国人"
        assert page.problems == []  # type: ignore[attr-defined]


def test_stop_waits_for_the_last_sentence_however_late_it_is(nano: Running, browse: Browse) -> None:
    script = Script()

    def before(page: "Page") -> None:
        page.clock.install()
        script.take(page)

    page = browse(nano.url, before)
    listen(page, script)
    script.speech("item_1", 0, "one")
    page.wait_for_selector("#text p")
    page.click("#microphone")
    until(page, lambda: script.kinds()[-1] == "commit")
    assert page.inner_text("#microphone").strip() == "Finishing…"
    assert page.inner_text("#status") == "Waiting for the last sentence"
    # An earlier turn, whose end was on its way when Stop was pressed, is not the last.
    script.say("input_audio_buffer.speech_stopped", "item_1", audio_end_ms=200)
    script.say("input_audio_buffer.committed", "item_1")
    script.complete("item_1", "one")
    script.speech("item_2", 300, "two")
    page.wait_for_selector("#text p:nth-child(2)")
    page.clock.fast_forward("10:00")
    assert page.inner_text("#microphone").strip() == "Finishing…"
    script.say("input_audio_buffer.committed", "item_2")
    page.clock.fast_forward("10:00")
    assert page.inner_text("#microphone").strip() == "Finishing…"
    script.complete("item_2", "two and the rest")
    until(page, IDLE)
    assert text_of(page) == ["one", "two and the rest"] and "recognized" in page.inner_text("#status")
    # What is said next goes on from there.
    listen(page, script)
    script.speech("item_3", 0, "three")
    page.wait_for_selector("#text p:nth-child(3)")
    page.click("#microphone")
    script.say(
        "error", error={"code": "input_audio_buffer_commit_empty", "message": "", "event_id": "commit"}
    )
    script.complete("item_3", "three")
    until(page, IDLE)
    assert text_of(page) == ["one", "two and the rest", "three"]
    assert page.problems == []  # type: ignore[attr-defined]


def test_whoever_does_not_wait_keeps_what_there_is(nano: Running, browse: Browse) -> None:
    script = Script()
    page = browse(nano.url, script.take)
    listen(page, script)
    script.speech("item_1", 0, "so ", "far")
    until(page, "document.querySelector('#text .volatile')?.textContent === 'far'")
    page.click("#microphone")
    page.click("#cancel")
    until(page, IDLE)
    assert text_of(page) == ["so far"] and page.inner_text("#status") == "Canceled. The text so far is kept."


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_a_session_that_the_server_ends_says_why_and_keeps_its_text(
    nano: Running, browse: Browse, locale: str
) -> None:
    script = Script()
    page = browse(nano.url, script.take, locale=locale)
    listen(page, script)
    script.speech("item_1", 0, "so ", "far")
    until(page, "document.querySelector('#text .volatile')?.textContent === 'far'")
    script.fail("session_expired", "the session is over")
    assert script.route is not None
    script.route.close()
    page.wait_for_selector("#status.wrong")
    until(page, "document.getElementById('microphone').ariaPressed === 'false'")
    told = "一次会话的最长时间" if locale == "zh-CN" else "The longest time of a session is over"
    assert told in page.inner_text("#status") and text_of(page) == ["so far"]
    page.click("#language")
    assert told not in page.inner_text("#status") and page.inner_text("#status")


def test_a_microphone_that_is_not_allowed(nano: Running, browse: Browse) -> None:
    refuse = (
        "navigator.mediaDevices.getUserMedia = async () =>"
        " { throw new DOMException('no', 'NotAllowedError'); }"
    )
    page = browse(nano.url, lambda page: page.add_init_script(refuse))
    page.click("#microphone")
    page.wait_for_selector("#status.wrong")
    assert "Allow it for this page" in page.inner_text("#status") and page.evaluate(IDLE)


def test_a_server_that_is_full_says_so(serve: Callable[..., Any], browse: Browse) -> None:
    with serve(ServerConfig(max_streams=1)) as server:
        page, other = browse(server.url), browse(server.url)
        page.click("#microphone")
        until(page, "document.getElementById('status').textContent === 'Listening'")
        other.click("#microphone")
        other.wait_for_selector("#status.wrong")
        assert "busy" in other.inner_text("#status")
        page.close()
        server.settle()


class Held:
    """The audio of a file, as it comes while the engine keeps up with it; the last fourth when it is let."""

    def __init__(self, server: Running) -> None:
        self._worker, self.go = server.state.worker, threading.Event()

    def __call__(self, source: Any, warn: Any, channel: int | None) -> Iterator[Any]:
        sound = np.concatenate(list(genuine_stream_audio(source, warn)))
        last = len(sound) * 3 // 4
        for start in range(0, last, 1600):
            yield sound[start : min(last, start + 1600)]
            wait_for(lambda: not self._worker._segments)
        assert self.go.wait(PATIENCE_S)
        yield sound[last:]


def test_a_long_file_shows_how_far_it_is_and_can_be_canceled(
    nano: Running, browse: Browse, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(nano)
    monkeypatch.setattr("nim4asr.serving.reading.stream_audio", held)
    page = browse(nano.url)
    page.set_input_files("#file", talk)
    until(page, "document.getElementById('progress-text').textContent.includes(' of ')")
    assert text_of(page) == ["what do you want"]
    share = page.evaluate("document.querySelector('progress').value")
    assert 0.1 < share < 0.9 and "talk.wav" in page.inner_text("#status")
    # Another file has to wait, and is named.
    page.evaluate(
        "() => { const data = new DataTransfer(); data.items.add(new File(['x'], 'next.wav'));"
        " document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true })); }"
    )
    assert "next.wav" in page.inner_text("#status")
    page.click("#cancel")
    until(page, IDLE + " && !document.getElementById('microphone').disabled")
    assert text_of(page) == ["what do you want"] and page.inner_text("#status").startswith("Canceled")
    held.go.set()
    nano.settle()
    page.set_input_files("#file", talk)
    until(page, "document.querySelectorAll('#text p').length === 3")
    until(page, "document.getElementById('status').textContent.startsWith('talk.wav: ')")
    assert page.problems == []  # type: ignore[attr-defined]


def test_words_are_one_stop_and_the_player_is_worked_by_keys(
    nano: Running, browse: Browse, talk: Path
) -> None:
    page = browse(nano.url, permissions=["clipboard-read", "clipboard-write"])
    page.set_input_files("#file", talk)
    until(page, "document.getElementById('status').textContent.startsWith('talk.wav: ')")
    stops = "[...document.querySelectorAll('#text *')].filter(one => one.tabIndex >= 0).length"
    focused = "document.activeElement.textContent"
    assert page.evaluate(stops) == 1
    page.focus("[data-format=json]")
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "what"
    for key in ("ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert page.evaluate(focused) == "you" and page.evaluate(stops) == 1
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == "他"
    page.keyboard.press("Home")
    # A word is said in less time than a busy machine takes to look: what was marked is kept.
    page.evaluate(
        """window.marked = [];
        new MutationObserver(() => marked.push(document.querySelector(".playing")?.textContent)).observe(
            document.getElementById("text"), { subtree: true, attributeFilter: ["class"] })"""
    )
    page.keyboard.press("Enter")
    until(page, "marked.includes('do')")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "names"
    # The track is a slider; its place is told in words.
    page.click("#play")
    page.focus("#track")
    page.keyboard.press("Home")
    until(page, "document.getElementById('track').ariaValueNow === '0.0'")
    page.keyboard.press("ArrowRight")
    until(page, "document.getElementById('track').ariaValueText.startsWith('0:05 of 0:')")
    place = "new DOMMatrix(getComputedStyle(document.getElementById('playhead')).transform).e"
    assert page.evaluate(place) == pytest.approx(150, abs=2)
    page.click("#track", position={"x": 60, "y": 30})
    until(page, f"Math.abs({place} - 60) < 2")
    page.click("#copy")
    until(page, "document.getElementById('copy').textContent === 'Copied'")
    assert (
        page.evaluate("navigator.clipboard.readText()")
        == "what do you want\n他是中国人\nwhere are you going\n"
    )


def test_a_phone_is_offered_the_microphone_first(nano: Running, browse: Browse) -> None:
    page = browse(nano.url, **PHONE)
    microphone = page.locator("#microphone").bounding_box()
    file = page.locator("#open").bounding_box()
    assert microphone is not None and file is not None
    # At the bottom, where the thumb is, before and larger than the file; no word of dropping or of keys.
    assert microphone["y"] > 700 and microphone["height"] >= 48 and microphone["width"] > 1.5 * file["width"]
    assert (
        microphone["x"] < file["x"]
        and page.evaluate("document.querySelector('main button').id") == "microphone"
    )
    assert "drop" not in page.inner_text("#empty") and "talk" in page.inner_text("#empty")


def test_all_stand_in_one_column(nano: Running, browse: Browse) -> None:
    page = browse(nano.url)
    left = "(one) => one.getBoundingClientRect().left + parseFloat(getComputedStyle(one).paddingLeft)"
    for width in (390, 1280, 2200):
        page.set_viewport_size({"width": width, "height": 800})
        places = page.eval_on_selector_all("header, main, footer", f"all => all.map({left})")
        assert len(places) == 3 and len(set(places)) == 1
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# The contrast of all text that is seen, with what is behind it, below 4.5.
FAINT = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const part = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = (color) => {
    const [r, g, b] = parts(color).map(part);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    const color = getComputedStyle(one).backgroundColor;
    return parts(color)[3] === 0 ? ground(one.parentElement) : color;
  };
  const own = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  return [...document.querySelectorAll("body *")]
    .filter((one) => one.checkVisibility() && own(one))
    .map((one) => {
      const [a, b] = [light(getComputedStyle(one).color), light(ground(one))].sort((x, y) => x - y);
      return [one.textContent.slice(0, 30), (b + 0.05) / (a + 0.05)];
    })
    .filter(([, contrast]) => contrast < 4.5);
}"""


def test_all_text_can_be_read(nano: Running, browse: Browse) -> None:
    script = Script()
    page = browse(nano.url, script.take)

    def readable() -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert page.evaluate(FAINT) == []

    page.click("summary")
    listen(page, script)
    script.speech("item_1", 0, "stable ", "volatile")
    script.speech("item_2", 0, "")
    script.say(
        "conversation.item.input_audio_transcription.failed",
        "item_2",
        error={"code": "server_error", "message": "it failed"},
    )
    page.wait_for_selector("#text .failed")
    readable()
    page.click("#microphone")
    page.wait_for_selector("#cancel:visible")
    readable()
    page.click("#cancel")
    until(page, IDLE)
    page.set_input_files("#file", {"name": "none.wav", "mimeType": "audio/wav", "buffer": b"no sound"})
    page.wait_for_selector("#status.wrong")
    readable()
