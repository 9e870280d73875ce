"""What the server writes down, by Python's own ``logging``; and ``configure``, which makes it JSON rows.

``nim4asr.serving`` has faults of the server, with their tracebacks; ``nim4asr.serving.requests`` a row for
each request, ``nim4asr.serving.sessions`` one for each live session. None of them holds text that was said,
names of people, addresses or keys.
"""

import json
import logging
import sys
import time
from contextvars import ContextVar
from typing import Any, TextIO

SERVER = logging.getLogger("nim4asr.serving")
REQUESTS = logging.getLogger("nim4asr.serving.requests")
SESSIONS = logging.getLogger("nim4asr.serving.sessions")

# In a request's scope: what its row in the log has beside status and time.
LOG = "nim4.log"
# The request that is being served, so that a fault can be found by what its client was told.
request_id: ContextVar[str] = ContextVar("request_id", default="")


class JsonRows(logging.Formatter):
    """One JSON object a line: time, level, logger and message; what ``extra={"row": ...}`` adds; the
    request's id; a traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line of ``record``."""
        row: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if current := request_id.get():
            row["id"] = current
        row |= getattr(record, "row", {})
        if record.exc_info:
            row["traceback"] = self.formatException(record.exc_info)
        # ASCII, so that no message can break a line or the encoding of a stream.
        return json.dumps(row)


def configure(stream: TextIO | None = None) -> None:
    """Write this process's log to ``stream`` (default: stderr), of other libraries warnings and worse.

    For the command; whoever embeds the application configures ``logging`` as they like.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonRows())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    SERVER.setLevel(logging.INFO)
