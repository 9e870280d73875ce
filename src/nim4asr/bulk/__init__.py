"""Archives of recordings, on all cores of a machine or of a cluster, by Ray Data.

``transcribe("recordings", "out")`` writes down a folder, a manifest or Parquet: a row an audio, in shards of
JSON lines or Parquet. Run again, it goes on where it was stopped.
"""

from nim4asr.bulk.cluster import Cluster
from nim4asr.bulk.job import Summary, transcribe
from nim4asr.bulk.sources import BulkAudio, read_audios
from nim4asr.bulk.worker import Listening

__all__ = ["BulkAudio", "Cluster", "Listening", "Summary", "read_audios", "transcribe"]
