// What the page says, in both languages.
export const TEXTS = {
  en: {
    speak: "Speak", stop: "Stop", file: "Open a file", text: "Text", names: "Names", clear: "Clear", more: "Settings",
    "names-help": "One a line. Those that are heard are underlined in the text.",
    empty: "Press Speak, or drop a sound file anywhere on this page. Click a word to hear it.",
    list: "A list on the server", none: "none", manual: "End turns by hand (Space)",
    clean: "Noise suppression of the browser", key: "API key, if this server asks for one", drop: "Drop the file",
    waveform: "Waveform, with speech in color", listening: "Listening", reading: "Recognizing {0}",
    done: "{0} s recognized in {1} s", refused: "The microphone cannot be used: {0}",
    lost: "The connection was lost", delay: "Text is {0} ms behind the sound", other: "中文",
  },
  zh: {
    speak: "开始说话", stop: "停止", file: "打开文件", text: "文字", names: "名称", clear: "清空", more: "设置",
    "names-help": "每行一个。听到的名称会在文字中加下划线。",
    empty: "点“开始说话”，或把音频文件拖到页面上。点击一个字可以重听。",
    list: "服务器上的名单", none: "无", manual: "手动结束一段（空格键）", clean: "浏览器降噪",
    key: "API 密钥（服务器需要时）", drop: "松开以打开文件", waveform: "波形，语音部分着色", listening: "正在听",
    reading: "正在识别 {0}", done: "{0} 秒音频，用时 {1} 秒", refused: "无法使用麦克风：{0}",
    lost: "连接已断开", delay: "文字比声音晚 {0} 毫秒", other: "English",
  },
};
