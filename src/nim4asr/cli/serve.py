"""``nim4 serve``"""

import argparse
import ipaddress
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
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
    from starlette.applications import Starlette

    from nim4asr.recognition.configuration import RecognitionConfig
    from nim4asr.runtime.network import Model
    from nim4asr.serving.access import Access
    from nim4asr.serving.application import Loader
    from nim4asr.serving.keys import Key

KEY_VARIABLE = "NIM4_API_KEY"
# Fields of ``ServerConfig`` as options, and what they say; uploads are told in MiB.
_LIMITS: tuple[tuple[str, str, type, str, str], ...] = (
    ("--max-streams", "max_streams", int, "N", "live sessions at a time"),
    ("--max-recordings", "max_recordings", int, "N", "recordings that are read at a time"),
    ("--max-waiting", "max_waiting", int, "N", "recordings that may wait"),
    ("--max-upload", "max_upload_mib", int, "MIB", "largest upload"),
    ("--max-duration", "max_duration_s", float, "SECONDS", "longest recording"),
    ("--max-silence", "max_silence_s", float, "SECONDS", "longest silence in a recording"),
    ("--max-session", "max_session_s", float, "SECONDS", "longest session"),
    ("--max-idle", "max_idle_s", float, "SECONDS", "longest time in which a session's client sends nothing"),
    ("--max-late", "max_late_s", float, "SECONDS", "nothing new while live speech is later than this"),
    ("--client-share", "client_share", float, "SHARE", "of sessions and recordings, for one key or machine"),
    ("--unload-after", "unload_s", float, "SECONDS", "a model but the first goes when unused for so long"),
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
    for flag, name, kind, metavar, what in _LIMITS:
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
    # A server may have several: in the place of the other commands' option.
    parser.add_argument_group("models", conflict_handler="resolve").add_argument(
        "--model",
        action="append",
        metavar="[NAME=]DIR",
        help="model folder or org/name on the hub (default: bundled nano). Repeated, with names: the first "
        "is loaded at the start, others when they are asked for. Read again at SIGHUP if its files changed",
    )
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
    places = _named_models(options)
    loaders = {name: partial(_load, options, place) for name, place in places.items()}
    first = next(iter(loaders))
    model, recognition = loaders[first]()
    limits = {name: getattr(options, name) for _, name, *_ in _LIMITS}
    given = {name: value for name, value in limits.items() if value is not None}
    if "max_upload_mib" in given:
        given["max_upload_bytes"] = given.pop("max_upload_mib") << 20
    try:
        config = ServerConfig(
            model_name=first or model.config.name,
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
    others = {name: load for name, load in loaders.items() if name != first}
    app = create_app(model, config, recognition=recognition, hotwords=lists, others=others)
    # One that is replaced is to be in memory no longer than its sessions.
    del model
    changed = _Changed({name or config.model_name: place for name, place in places.items()})
    listening = Listening(options.host, options.port, options.certificate, options.private_key, options.drain)
    serving = server(app, listening)

    async def serve() -> None:
        # Before anyone is told that the server is there: without a handler the signal would end it.
        if hasattr(signal, "SIGHUP"):

            def read_again() -> None:
                _read_keys_again(options, app.state.nim4.access)
                # Loading takes long, and the loop must not wait.
                threading.Thread(target=_load_again, args=(app, changed, loaders, first), daemon=True).start()

            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, read_again)
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


def _named_models(options: argparse.Namespace) -> dict[str, str | None]:
    """The models by name; the only one, without a name, has its own, and is named "" here."""
    given = options.model or [None]
    if len(given) == 1 and (given[0] is None or "=" not in given[0] or Path(given[0]).exists()):
        return {"": given[0]}
    places: dict[str, str | None] = {}
    for one in given:
        name, equals, place = str(one).partition("=")
        if not equals or not name or not place or name in places:
            raise InputError(f"several models need names of their own: --model NAME=DIR, not {one!r}")
        places[name] = place
    return places


def _load(options: argparse.Namespace, place: str | None) -> "tuple[Model, RecognitionConfig]":
    recognizer = load_recognizer(argparse.Namespace(**{**vars(options), "model": place}))
    tell_if_whole(recognizer.model)
    return recognizer.model, recognizer.config


class _Changed:
    """Which models' files have changed since they were last loaded, as ``loaded`` says. Use it while you hold
    its ``lock``.
    """

    def __init__(self, places: Mapping[str, str | None]) -> None:
        self._places = places
        self.lock = threading.Lock()
        self._now = {name: self._stamp(place) for name, place in places.items()}
        self._seen = dict(self._now)

    def __call__(self) -> list[str]:
        now = {name: self._stamp(place) for name, place in self._places.items()}
        self._now = now
        return [name for name in now if now[name] != self._seen[name]]

    def loaded(self, name: str) -> None:
        """The files of ``name`` are loaded as they were when this was asked."""
        self._seen[name] = self._now[name]

    def _stamp(self, place: str | None) -> tuple[tuple[str, int, int], ...]:
        folder = Path(place or "")
        if place is None or not folder.is_dir():
            # The bundled one, or one of the hub, which is of a revision.
            return ()
        files = sorted(path for path in folder.iterdir() if path.is_file())
        return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


def _load_again(app: "Starlette", changed: _Changed, loaders: "Mapping[str, Loader]", first: str) -> None:
    """Load the models whose files have changed; what cannot be loaded stays as it was."""
    from nim4asr.serving.application import replace_model
    from nim4asr.serving.logs import SERVER

    # One signal after the other: what is loaded last is the newest.
    with changed.lock:
        for name in changed():
            try:
                replace_model(app, name, loaders[name] if name in loaders else loaders[first])
                changed.loaded(name)
                SERVER.info("the model %s was replaced", name)
            except InputError as error:
                SERVER.error("the model %s stays as it was: %s", name, error)
            except Exception:
                SERVER.exception("the model %s stays as it was", name)


def _read_keys_again(options: argparse.Namespace, access: "Access") -> None:
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
