"""What the server measures, in Prometheus's text format. No text, no addresses and no keys are in it; a key's
own name is.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nim4asr.serving.admission import Admission
from nim4asr.serving.models import Models

_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self, models: Models, admission: Admission) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "nim4_requests", "Requests by route and status", ["route", "status"], registry=self.registry
        )
        self.audio_seconds = Counter(
            "nim4_audio_seconds", "Seconds of sound received", ["kind", "key"], registry=self.registry
        )
        self.final_seconds = Histogram(
            "nim4_final_seconds",
            "From the end of speech being detected to the final text, in seconds",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.sessions = Counter(
            "nim4_sessions",
            "Live sessions that have ended, by their protocol and how they did",
            ["protocol", "outcome", "key"],
            registry=self.registry,
        )
        self.registry.register(_Engines(models, admission))

    def text(self) -> bytes:
        """All of them, as ``/metrics`` gives them."""
        return generate_latest(self.registry)


class _Engines(Collector):
    """The state of the engines at the moment it is asked for."""

    def __init__(self, models: Models, admission: Admission) -> None:
        self._models, self._admission = models, admission

    def collect(self) -> Iterable[Metric]:
        workers = self._models.workers
        stats = [worker.engine.stats for worker in workers]
        values: tuple[tuple[str, str, float], ...] = (
            ("nim4_models", "Models in memory", len(workers)),
            ("nim4_streams", "Live streams that are open", sum(one.live_streams for one in workers)),
            ("nim4_open_sessions", "Live sessions that have a place", self._admission.sessions),
            (
                "nim4_waiting_recordings",
                "Recordings that wait for a reader",
                sum(one.waiting_recordings for one in workers),
            ),
            (
                "nim4_backlog_seconds",
                "Seconds of live sound that wait to be recognized",
                sum(one.backlog_s for one in workers),
            ),
            ("nim4_late_seconds", "How far live speech is behind its own pace, at most", self._models.late_s),
            (
                "nim4_engine_beat_age_seconds",
                "Since an engine last showed that it lives, at most",
                max(one.beat_age_s for one in workers),
            ),
            (
                "nim4_encoder_calls",
                "Calls of the encoder since the start",
                sum(one.encoder_calls for one in stats),
            ),
            (
                "nim4_language_model_calls",
                "Calls of the language model since the start",
                sum(one.language_model_calls for one in stats),
            ),
        )
        for name, what, value in values:
            yield GaugeMetricFamily(name, what, value=value)
