"""``nim4 serve``"""

import argparse
import ipaddress
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nim4asr.cli.options import (
    add_command,
    add_decoding_options,
    add_final_context_option,
    add_model_options,
    load_recognizer,
    tell_if_whole,
)
from nim4asr.errors import InputError
from nim4asr.files import read_text

if TYPE_CHECKING:
    from nim4asr.serving.access import Access
    from nim4asr.serving.keys import Key

KEY_VARIABLE = "NIM4_API_KEY"
# Fields of ``ServerConfig`` that are options, and what they say; uploads are told in MiB.
_LIMITS: tuple[tuple[str, type, str, str], ...] = (
    ("max_streams", int, "N", "live sessions at a time"),
    ("max_recordings", int, "N", "recordings that are read at a time"),
    ("max_waiting", int, "N", "recordings that may wait"),
    ("max_upload_mib", int, "MIB", "largest upload"),
    ("max_duration_s", float, "SECONDS", "longest recording"),
    ("max_silence_s", float, "SECONDS", "longest silence in a recording"),
    ("max_session_s", float, "SECONDS", "longest session"),
    ("max_idle_s", float, "SECONDS", "longest time in which a session's client sends nothing"),
    ("max_late_s", float, "SECONDS", "nothing new is admitted while live speech is later than this"),
    ("client_share", float, "SHARE", "share of sessions and recordings of one key, or one other machine"),
)


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
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="without keys: another name by which this server is called, such as a proxy's (repeatable)",
    )
    group.add_argument(
        "--wyoming",
        type=int,
        metavar="PORT",
        help="speak Home Assistant's Wyoming at this port too (10300); it knows no keys, so for this machine "
        "alone unless --open is said",
    )
    access = parser.add_argument_group("access")
    access.add_argument(
        "--keys",
        type=Path,
        metavar="FILE",
        help="API keys, one a line: KEY name=NAME streams=N recordings=N rate=SECONDS, all but the key "
        f"optional; read again at SIGHUP (or one key in {KEY_VARIABLE})",
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
    for name, kind, metavar, what in _LIMITS:
        flag = "--" + name.removesuffix("_s").removesuffix("_mib").replace("_", "-")
        limits.add_argument(
            flag, dest=name, type=kind, metavar=metavar, help=f"{what} (default: {_default(name):g})"
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
    from nim4asr.serving.configuration import ANY, LOOPBACK_HOSTS, ServerConfig
    from nim4asr.serving.hotword_lists import HotwordLists
    from nim4asr.serving.logs import configure
    from nim4asr.serving.running import Listening, server

    keys = _keys(options)
    local = _is_loopback(options.host)
    if not keys and not options.open and not local:
        raise InputError(
            f"{options.host} can be reached from elsewhere: give --keys FILE or {KEY_VARIABLE}, "
            "or say --open if everyone may use this server"
        )
    if (options.certificate is None) != (options.private_key is None):
        raise InputError("--certificate and --private-key go together")
    lists = HotwordLists(options.hotwords_dir, dict(map(_named_list, options.hotwords)))
    recognizer = load_recognizer(options)
    tell_if_whole(recognizer.model)
    given = {name: getattr(options, name) for name, *_ in _LIMITS if getattr(options, name) is not None}
    if "max_upload_mib" in given:
        given["max_upload_bytes"] = given.pop("max_upload_mib") << 20
    try:
        config = ServerConfig(
            model_name=recognizer.model.config.name,
            aliases=tuple(options.alias),
            keys=keys,
            # Who opens it to everyone does not ask by which name it is called.
            hosts=(*LOOPBACK_HOSTS, *options.allow_host) if local else (ANY,),
            audio_s_per_minute=options.rate,
            cors_origins=tuple(options.cors),
            final_context=options.final_context or "chunks",
            **given,
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    configure()
    _raise_descriptors()
    app = create_app(recognizer.model, config, recognition=recognizer.config, hotwords=lists)
    listening = Listening(options.host, options.port, options.certificate, options.private_key, options.drain)
    serving = server(app, listening)

    async def serve() -> None:
        socket = _bound(options.host, options.port, options.reuse_port)
        scheme = "http" if options.certificate is None else "https"
        host = "localhost" if local else options.host
        print(f"nim4: listening at {scheme}://{host}:{socket.getsockname()[1]}/", file=sys.stderr, flush=True)
        wyoming = None
        if options.wyoming is not None:
            from nim4asr.serving.wyoming import serve_wyoming

            # It knows no keys.
            host = options.host if local or options.open else "127.0.0.1"
            try:
                wyoming = await serve_wyoming(app.state.nim4, host, options.wyoming)
            except (OSError, OverflowError) as error:
                raise InputError(f"cannot listen at {host}:{options.wyoming} ({error})") from None
            print(f"nim4: Wyoming at {host}:{options.wyoming}", file=sys.stderr, flush=True)
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(
                signal.SIGHUP, lambda: _read_again(options, app.state.nim4.access)
            )
        with socket:
            await serving.serve(sockets=[socket])
        if wyoming is not None:
            wyoming.close()

    asyncio.run(serve())
    return 0


def _default(name: str) -> float:
    from nim4asr.serving.configuration import ServerConfig

    if name == "max_upload_mib":
        return ServerConfig.max_upload_bytes >> 20
    return float(getattr(ServerConfig, name))


def _keys(options: argparse.Namespace) -> "tuple[Key, ...]":
    from nim4asr.serving.keys import Key, parsed_keys

    keys: tuple[Key, ...] = ()
    if options.keys is not None:
        keys = parsed_keys(read_text(options.keys, "file of keys"), str(options.keys))
    secret = os.environ.get(KEY_VARIABLE, "").strip()
    if secret and secret not in {key.secret for key in keys}:
        keys = (*keys, Key(secret, KEY_VARIABLE))
    return keys


def _read_again(options: argparse.Namespace, access: "Access") -> None:
    """Take the keys of the file as it is now; a file that is wrong changes nothing."""
    from nim4asr.serving.logs import SERVER

    try:
        keys = _keys(options)
        if access.keys:
            access.replace(keys)
            SERVER.info("%d keys are valid now", len(keys))
    except InputError as error:
        SERVER.error("the keys stay as they were: %s", error)


def _raise_descriptors() -> None:
    """As many descriptors as the system allows this process: each connection is one."""
    # Not on Windows, which has no such limit.
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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
