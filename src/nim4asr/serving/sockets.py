"""Whether a WebSocket is let in: before it is accepted, so that the client sees an HTTP status."""

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from nim4asr.serving.errors import ApiError
from nim4asr.serving.state import state_of


async def admitted(websocket: WebSocket) -> str | None:
    """The client's name; or None, and then it has been refused with the reason."""
    state = state_of(websocket)
    try:
        client = state.access.check(websocket)
        state.access.admit(client)
        state.refuse_if_draining()
        if state.worker.live_streams >= state.config.max_streams:
            raise ApiError(
                503,
                "all live streams are in use; try again later",
                "server_busy",
                headers={"Retry-After": "5"},
            )
    except ApiError as error:
        await websocket.send_denial_response(JSONResponse(error.body, error.status, error.headers))
        state.metrics.requests.labels(websocket.url.path, str(error.status)).inc()
        return None
    return client
