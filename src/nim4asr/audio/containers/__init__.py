"""Files of sound, as they are found: joined, damaged, begun late, with junk before them.

``nim4asr.audio.containers.signatures.sounds`` looks at what a file is by its first bytes, never by its name,
and chooses one reader for it. Each reader is a generator of ``Sound``, ``Silence`` and ``CutShort`` that can
be stopped at every block, and reads on behind what it cannot read. Finding where things lie is done here;
decoding is libsndfile's and FFmpeg's.
"""
