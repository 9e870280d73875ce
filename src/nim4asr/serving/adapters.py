"""The WebSocket on ``/``: FunASR's clients, which offer the subprotocol ``binary``, and sherpa-onnx's, which
offer none.
"""

from starlette.websockets import WebSocket

from nim4asr.serving.funasr import SUBPROTOCOL, FunAsr
from nim4asr.serving.sherpa import SherpaOnnx
from nim4asr.serving.sockets import serve_socket


async def adapters(websocket: WebSocket) -> None:
    """Serve a client of either kind."""
    if SUBPROTOCOL in websocket.scope.get("subprotocols", []):
        await serve_socket(websocket, SUBPROTOCOL, FunAsr)
    else:
        await serve_socket(websocket, None, SherpaOnnx)
