"""The application: routes, limits and errors around one engine."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from nim4asr.recognition.configuration import RecognitionConfig
from nim4asr.runtime.network import Model
from nim4asr.serving.access import Access
from nim4asr.serving.adapters import adapters
from nim4asr.serving.admission import Admission
from nim4asr.serving.client_secrets import client_secrets
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.errors import ApiError
from nim4asr.serving.hotword_lists import HotwordLists
from nim4asr.serving.lifecycle import Lifecycle
from nim4asr.serving.logs import SERVER
from nim4asr.serving.metrics import Metrics
from nim4asr.serving.middleware import BodyLimit, Errors, RequestLog
from nim4asr.serving.models import Models
from nim4asr.serving.origins import OwnPages
from nim4asr.serving.realtime import realtime
from nim4asr.serving.routes import health, hotword_list, hotword_lists, metrics, model, models, ready
from nim4asr.serving.state import State
from nim4asr.serving.subtitles import subtitles
from nim4asr.serving.transcriptions import transcriptions, translations
from nim4asr.serving.worker import EngineWorker

# What loads a model, and how it recognizes recordings.
Loader = Callable[[], tuple[Model, RecognitionConfig | None]]
# How often it is looked for models that nobody uses, in seconds.
_UNLOAD_S = 30.0
PAGE = files("nim4asr.serving") / "page"
# The page loads nothing from elsewhere, and nothing else may put it into a frame.
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; "
    "media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def create_app(
    model_: Model,
    config: ServerConfig | None = None,
    *,
    recognition: RecognitionConfig | None = None,
    hotwords: HotwordLists | None = None,
    others: Mapping[str, Loader] | None = None,
) -> Starlette:
    """An application that serves ``model_``; its engine's thread starts with it and ends with its
    lifespan. ``others`` are models by name that are loaded when they are asked for.
    """
    config = config or ServerConfig()
    worker = EngineWorker(model_, recognition, max_recordings=config.max_recordings)
    makes = {name: partial(_worker, load, config) for name, load in (others or {}).items()}
    models_ = Models(config.model_name, worker, makes, config.unload_s)
    lifecycle, access = Lifecycle(), Access(config)
    admission = Admission(config, lifecycle, lambda: models_.late_s)
    state = State(
        models_,
        config,
        access,
        admission,
        hotwords or HotwordLists(),
        Metrics(models_, admission),
        lifecycle,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        unloading = asyncio.create_task(_unload(models_))
        yield
        unloading.cancel()
        lifecycle.close()
        # They wait for their threads, which may have to be heard here.
        await asyncio.to_thread(models_.close)

    middleware = [
        Middleware(RequestLog, metrics=state.metrics),
        Middleware(Errors),
        Middleware(OwnPages, access=access, hosts=config.hosts, origins=config.cors_origins),
        Middleware(BodyLimit, max_bytes=config.max_upload_bytes),
    ]
    if config.cors_origins:
        middleware.insert(
            1,
            Middleware(
                CORSMiddleware,
                allow_origins=list(config.cors_origins),
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["nim4-ignored", "nim4-warning"],
            ),
        )
    app = Starlette(
        routes=[
            Route("/v1/audio/transcriptions", transcriptions, methods=["POST"]),
            Route("/v1/audio/translations", translations, methods=["POST"]),
            Route("/v1/subtitles", subtitles, methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            Route("/v1/hotwords", hotword_lists),
            Route("/v1/hotwords/{name}", hotword_list, methods=["GET", "PUT", "DELETE"]),
            WebSocketRoute("/v1/realtime", realtime),
            Route("/v1/realtime/client_secrets", client_secrets, methods=["POST"]),
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", metrics),
            WebSocketRoute("/", adapters),
            Route("/", page),
            Mount("/page", _Static(directory=str(PAGE)), name="page"),
        ],
        middleware=middleware,
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )
    app.state.nim4 = state
    return app


def replace_model(app: Starlette, name: str, load: Loader) -> None:
    """Serve what is new under ``name`` with the model that ``load`` loads; sessions go on with the one they
    have. Raises what ``load`` raises, and then nothing has changed.
    """
    state: State = app.state.nim4
    state.models.replace(name, partial(_worker, load, state.config))


def _worker(load: Loader, config: ServerConfig) -> EngineWorker:
    model, recognition = load()
    return EngineWorker(model, recognition, max_recordings=config.max_recordings)


async def _unload(models: Models) -> None:
    while True:
        await asyncio.sleep(_UNLOAD_S)
        for name in await asyncio.to_thread(models.unload_idle):
            SERVER.info("the model %s was unloaded: nobody has used it for a while", name)


async def page(request: Request) -> Response:
    """``GET /``: the page."""
    return Response(
        (PAGE / "index.html").read_bytes(), media_type="text/html; charset=utf-8", headers=_PAGE_HEADERS
    )


class _Static(StaticFiles):
    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """As Starlette's; a path that no file system has, with a NUL, is not there."""
        try:
            return super().lookup_path(path)
        except ValueError:
            return "", None

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """As Starlette's, with the page's own headers."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers.update(_PAGE_HEADERS)
        return response


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors: unknown paths, wrong methods, forms that cannot be parsed."""
    assert isinstance(error, HTTPException)
    told = ApiError(error.status_code, error.detail or "the request was refused")
    return JSONResponse(told.body, error.status_code, dict(error.headers or {}))
