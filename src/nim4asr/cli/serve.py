"""``nim4 serve``"""

import argparse
import ipaddress
import os
import sys
from pathlib import Path
from typing import Any

from nim4asr.cli.options import (
    add_command,
    add_decoding_options,
    add_final_context_option,
    add_model_options,
    load_recognizer,
)
from nim4asr.errors import InputError
from nim4asr.files import read_text

KEY_VARIABLE = "NIM4_API_KEY"


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "serve",
        "serve recognition: OpenAI's REST and Realtime, WebSockets, a page in the browser",
        "nim4 serve",
        "nim4 serve --host 0.0.0.0 --keys keys.txt --max-streams 32",
    )
    group = parser.add_argument_group("network")
    group.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    group.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one (default: 8000)")
    group.add_argument(
        "--reuse-port", action="store_true", help="share the port with other processes that say so too"
    )
    group.add_argument("--certificate", type=Path, metavar="PEM", help="with --private-key: speak TLS")
    group.add_argument("--private-key", type=Path, metavar="PEM", help="the certificate's key")
    group.add_argument(
        "--cors",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="allow pages of this origin (repeatable)",
    )
    group.add_argument(
        "--wyoming", type=int, metavar="PORT", help="speak Home Assistant's Wyoming at this port too (10300)"
    )
    access = parser.add_argument_group("access")
    access.add_argument(
        "--keys", type=Path, metavar="FILE", help=f"API keys, one a line (or one in {KEY_VARIABLE})"
    )
    access.add_argument("--open", action="store_true", help="listen beyond this machine without a key")
    access.add_argument(
        "--rate",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="seconds of sound a client may send in a minute",
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-streams", type=int, metavar="N", help="live streams at a time (default: 48)")
    limits.add_argument("--max-waiting", type=int, metavar="N", help="recordings that may wait (default: 8)")
    limits.add_argument("--max-upload", type=int, metavar="MIB", help="largest upload (default: 25)")
    limits.add_argument(
        "--max-duration", type=float, metavar="SECONDS", help="longest recording (default: 14400)"
    )
    limits.add_argument(
        "--max-session", type=float, metavar="SECONDS", help="longest session (default: 3600)"
    )
    limits.add_argument(
        "--drain",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="at SIGTERM, open sessions may go on for so long",
    )
    names = parser.add_argument_group("names")
    names.add_argument(
        "--hotwords",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a list of names that requests may name (repeatable)",
    )
    names.add_argument("--hotwords-dir", type=Path, metavar="DIR", help="keep uploaded lists of names here")
    parser.add_argument(
        "--alias",
        action="append",
        default=[],
        metavar="MODEL",
        help="another name for the model, such as whisper-1",
    )
    add_final_context_option(parser)
    add_decoding_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    import asyncio

    from nim4asr.serving.application import create_app
    from nim4asr.serving.configuration import ServerConfig
    from nim4asr.serving.hotword_lists import HotwordLists
    from nim4asr.serving.running import Listening, server

    keys = _keys(options)
    if not keys and not options.open and not _is_loopback(options.host):
        raise InputError(
            f"{options.host} can be reached from elsewhere: give --keys FILE or {KEY_VARIABLE}, "
            "or say --open if everyone may use this server"
        )
    if options.wyoming is not None and keys and not options.open:
        raise InputError("Wyoming knows no keys: say --open if everyone who reaches its port may use it")
    if (options.certificate is None) != (options.private_key is None):
        raise InputError("--certificate and --private-key go together")
    lists = HotwordLists(options.hotwords_dir, dict(map(_named_list, options.hotwords)))
    recognizer = load_recognizer(options)
    limits = {
        "final_context": options.final_context,
        "max_streams": options.max_streams,
        "max_waiting": options.max_waiting,
        "max_upload_bytes": None if options.max_upload is None else options.max_upload << 20,
        "max_duration_s": options.max_duration,
        "max_session_s": options.max_session,
    }
    try:
        config = ServerConfig(
            model_name=recognizer.model.config.name,
            aliases=tuple(options.alias),
            keys=keys,
            audio_s_per_minute=options.rate,
            cors_origins=tuple(options.cors),
            **{name: value for name, value in limits.items() if value is not None},
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    app = create_app(recognizer.model, config, recognition=recognizer.config, hotwords=lists)
    listening = Listening(options.host, options.port, options.certificate, options.private_key, options.drain)
    serving = server(app, listening)

    async def serve() -> None:
        socket = _bound(options.host, options.port, options.reuse_port)
        scheme = "http" if options.certificate is None else "https"
        host = "localhost" if _is_loopback(options.host) else options.host
        print(f"nim4: listening at {scheme}://{host}:{socket.getsockname()[1]}/", file=sys.stderr, flush=True)
        wyoming = None
        if options.wyoming is not None:
            from nim4asr.serving.wyoming import serve_wyoming

            try:
                wyoming = await serve_wyoming(app.state.nim4, options.host, options.wyoming)
            except (OSError, OverflowError) as error:
                raise InputError(f"cannot listen at {options.host}:{options.wyoming} ({error})") from None
        with socket:
            await serving.serve(sockets=[socket])
        if wyoming is not None:
            await wyoming.stop()

    asyncio.run(serve())
    return 0


def _keys(options: argparse.Namespace) -> frozenset[str]:
    keys = {os.environ.get(KEY_VARIABLE, "").strip()} - {""}
    if options.keys is not None:
        keys |= {line.strip() for line in read_text(options.keys, "file of keys").splitlines()} - {""}
        if not keys:
            raise InputError(f"{options.keys}: there is no key in the file")
    return frozenset(keys)


def _named_list(given: str) -> tuple[str, Path]:
    name, equals, path = given.partition("=")
    if not equals or not name or not path:
        raise InputError(f"--hotwords takes NAME=FILE, not {given!r}")
    return name, Path(path)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bound(host: str, port: int, shared: bool) -> Any:
    """A listening socket, so that a port that is taken is one sentence, and a free one is known."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
        # Whoever reads the address may connect at once.
        bound.listen(2048)
    except (OSError, OverflowError) as error:
        bound.close()
        raise InputError(f"cannot listen at {host}:{port} ({error})") from None
    return bound
