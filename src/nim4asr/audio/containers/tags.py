"""Tags, which lie before, between and behind the frames of a sound and are none."""

from nim4asr.audio.containers.stretches import Window


def tag_size(window: Window, place: int) -> int:
    """How many bytes the tag has that begins at ``place``: ID3 of any version, APE or Lyrics3; 0 if none
    does.
    """
    head = window.at(place, 32)
    size = 0
    if head.startswith(b"ID3") and len(head) >= 10 and max(head[6:10]) < 128:
        # Seven bits a byte (ID3v2.4, section 3.1); a footer has the size of the header.
        size = 10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10])) + (head[5] & 16 and 10)
    elif head.startswith(b"APETAGEX") and len(head) == 32:
        # Its own header, or footer, is counted but for one of them.
        size = int.from_bytes(head[12:16], "little") + (32 if head[23] & 0x20 else 0)
    elif head.startswith(b"TAG+"):
        size = 227
    elif head.startswith(b"TAG"):
        size = 128
    elif head.startswith(b"LYRICSBEGIN"):
        end = window.find(b"LYRICS200", place, place + 200_000) or window.find(
            b"LYRICSEND", place, place + 5200
        )
        size = end + 9 - place if end is not None else 0
    return size if place + size <= window.end else 0
