"""The smaller routes: models, hotword lists, health and metrics."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from nim4asr.serving.errors import ApiError, shown
from nim4asr.serving.hotword_lists import HotwordList
from nim4asr.serving.state import State, state_of

# The engine's thread shows at least every second that it lives.
_LATE_BEAT_S = 10.0
_CREATED = 1_763_000_000


async def models(request: Request) -> Response:
    """``GET /v1/models``."""
    state = _allowed(request)
    names = dict.fromkeys((*state.models.names, *state.config.aliases))
    return JSONResponse({"object": "list", "data": [_model_row(name) for name in names]})


async def model(request: Request) -> Response:
    """``GET /v1/models/ID``; the id may hold a slash."""
    state, name = _allowed(request), request.path_params["name"]
    if state.model_of(name) is None:
        raise ApiError(
            404, f"there is no model {shown(name)} here; see /v1/models", "model_not_found", "model"
        )
    return JSONResponse(_model_row(name))


async def hotword_lists(request: Request) -> Response:
    """``GET /v1/hotwords``."""
    state = _allowed(request)
    # They may be read from a folder, and the loop must not wait.
    lists = await asyncio.to_thread(state.hotwords.all)
    return JSONResponse({"object": "list", "data": [_list_row(hotwords) for hotwords in lists]})


async def hotword_list(request: Request) -> Response:
    """``GET``, ``PUT`` and ``DELETE /v1/hotwords/NAME``."""
    state, name = _allowed(request), request.path_params["name"]
    if request.method == "PUT":
        data = await request.body()
        kind = request.headers.get("content-type", "text/plain")
        kept = await asyncio.to_thread(state.hotwords.put, name, data, kind)
        return JSONResponse(_list_row(kept))
    if request.method == "DELETE":
        await asyncio.to_thread(state.hotwords.delete, name)
        return JSONResponse({"id": name, "object": "hotwords", "deleted": True})
    return JSONResponse(_list_row(await asyncio.to_thread(state.hotwords.get, name)))


async def health(request: Request) -> Response:
    """``GET /health``: 200 while the engine lives."""
    state = state_of(request)
    alive = max(worker.beat_age_s for worker in state.models.workers) < _LATE_BEAT_S
    return JSONResponse({"status": "ok" if alive else "the engine hangs"}, 200 if alive else 500)


async def ready(request: Request) -> Response:
    """``GET /ready``: 200 while more sessions are admitted; else why not, with 503."""
    reason = state_of(request).admission.refusal
    if reason is None:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": reason}, 503, {"Retry-After": "5"})


async def metrics(request: Request) -> Response:
    """``GET /metrics``, in Prometheus's text format."""
    text = state_of(request).metrics.text().decode()
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _allowed(request: Request) -> State:
    state = state_of(request)
    state.access.check(request)
    return state


def _model_row(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "nim4asr"}


def _list_row(hotwords: HotwordList) -> dict[str, Any]:
    return {
        "id": hotwords.name,
        "object": "hotwords",
        "created": hotwords.created,
        "names": len(hotwords.index),
    }
