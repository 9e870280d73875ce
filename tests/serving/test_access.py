"""Keys and their file, allowances of sound, and places: who may use the server, and how much of it."""

import threading
from collections.abc import Callable

import pytest

from nim4asr.errors import InputError
from nim4asr.serving.access import Access, Client
from nim4asr.serving.admission import Admission
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.errors import ApiError
from nim4asr.serving.keys import Key, named, parsed_keys
from nim4asr.serving.lifecycle import Lifecycle

A, B = Client.of_address("192.0.2.1"), Client.of_address("192.0.2.2")
HERE = Client.of_address("127.0.0.1")


def test_an_allowance_is_spent_and_comes_back() -> None:
    now = [0.0]
    access = Access(ServerConfig(audio_s_per_minute=60.0), lambda: now[0])
    access.admit(A)
    access.charge(A, 90.0)
    with pytest.raises(ApiError) as refused:
        access.admit(A)
    assert refused.value.status == 429 and refused.value.headers["Retry-After"] == "30"
    # Others are not concerned.
    access.admit(B)
    now[0] = 30.5
    access.admit(A)
    # However long the wait, no more than a minute's is saved up.
    now[0] = 1e6
    access.charge(A, 60.0)
    with pytest.raises(ApiError):
        access.admit(A)


def test_a_key_s_own_allowance() -> None:
    access = Access(ServerConfig(audio_s_per_minute=60.0), lambda: 0.0)
    free, poor = (
        Client.of_key(Key(name, name, audio_s_per_minute=rate)) for name, rate in (("f", 0), ("p", 1))
    )
    access.charge(free, 1e9)
    access.admit(free)
    access.charge(poor, 1.0)
    with pytest.raises(ApiError, match="more than 1 seconds"):
        access.admit(poor)


def test_without_a_rate_nothing_is_counted() -> None:
    access = Access(ServerConfig())
    access.charge(A, 1e9)
    access.admit(A)


@pytest.mark.parametrize(
    "values",
    [
        {"max_streams": 0},
        {"max_upload_bytes": 0},
        {"max_waiting": -1},
        {"max_session_s": 0.0},
        {"max_idle_s": -1.0},
        {"max_late_s": float("nan")},
        {"audio_s_per_minute": -1.0},
        {"client_share": 0.0},
    ],
)
def test_impossible_servers(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"room for|positive|share"):
        ServerConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "origin", ["https://a.example/", "a.example", "https://A.example", "", "https://u@a"]
)
def test_origins_that_no_browser_sends(origin: str) -> None:
    """They would allow nothing, and nobody would be told."""
    with pytest.raises(ValueError, match="as browsers write it"):
        ServerConfig(cors_origins=(origin,))


@pytest.mark.parametrize("origin", ["*", "null", "http://localhost:3000", "https://[::1]:8", "app://x"])
def test_origins(origin: str) -> None:
    assert ServerConfig(cors_origins=(origin,)).cors_origins == (origin,)


def test_a_file_of_keys() -> None:
    text = "# keys\nsk-1\n\n sk-2 name=alice streams=3 recordings=0 rate=60.5 \nsk-3 rate=0\n"
    assert parsed_keys(text, "keys.txt") == (
        Key("sk-1", "key-1"),
        Key("sk-2", "alice", 3, 0, 60.5),
        Key("sk-3", "key-3", None, None, 0.0),
    )
    assert "sk-2" not in repr(parsed_keys(text, "keys.txt"))
    assert named(["b", Key("x", "alice"), "a"]) == (Key("x", "alice"), Key("a", "key-2"), Key("b", "key-3"))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("sk name", "line 2: after the key come"),
        ("sk color=red", "after the key come"),
        ("sk rate=1 rate=2", "each once"),
        ("sk streams=many", "streams= takes a whole number"),
        ("sk streams=-1", "streams= takes a whole number"),
        ("sk streams=²", "streams= takes a whole number"),
        ("sk rate=nan", "rate= takes seconds"),
        ("sk rate=inf", "rate= takes seconds"),
        ("schlüssel", "printable ASCII"),
        ("first", "in the file already"),
        ("other name=key-1", "in the file already"),
    ],
)
def test_a_file_of_keys_that_is_wrong(line: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        parsed_keys(f"first\n{line}\n", "keys.txt")
    assert str(raised.value).startswith("keys.txt") and line.split()[0] not in str(raised.value).split()
    with pytest.raises(InputError, match="no key"):
        parsed_keys("# nothing\n", "keys.txt")


def test_keys_are_replaced_and_never_all_gone() -> None:
    access = Access(ServerConfig(keys=("one",)))
    access.replace([Key("two", "two")])
    assert [key.secret for key in access.keys] == ["two"]
    with pytest.raises(ValueError, match="keep one"):
        access.replace([])


def admission(late: Callable[[], float] = lambda: 0.0, **settings: float) -> tuple[Admission, Lifecycle]:
    lifecycle = Lifecycle()
    return Admission(ServerConfig(**settings), lifecycle, late), lifecycle  # type: ignore[arg-type]


def refused(take: Callable[[Client], object], client: Client) -> ApiError:
    with pytest.raises(ApiError) as raised:
        take(client)
    assert int(raised.value.headers["Retry-After"]) > 0
    return raised.value


def test_one_client_does_not_take_all_places() -> None:
    places, _ = admission(max_streams=4, max_recordings=2, max_waiting=2)
    for take, status in ((places.session, 503), (places.recording, 429)):
        taken = [take(A) for _ in range(3)]
        assert refused(take, A).status == status
        taken.append(take(B))
        assert refused(take, B).status == status
        taken[0].release()
        taken[0].release()
        taken.append(take(A))
        for place in taken:
            place.release()
    assert places.sessions == places.recordings == 0


def test_a_network_of_one_subscriber_is_one_client() -> None:
    """Of IPv6 anyone has 2^64 addresses; and a socket for both calls those of IPv4 by addresses of IPv6."""
    places, _ = admission(max_streams=4)
    for number in range(3):
        places.session(Client.of_address(f"2001:db8:0:1::{number + 1:x}"))
    assert refused(places.session, Client.of_address("2001:db8:0:1:ffff::1")).status == 503
    places.session(Client.of_address("2001:db8:0:2::1"))
    assert Client.of_address("::ffff:192.0.2.1") == A
    assert Client.of_address("::ffff:192.0.2.1") != Client.of_address("::ffff:192.0.2.2")
    for here in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "", "local"):
        assert Client.of_address(here).local, here
    for there in ("fe80::1%eth0", "::2", "testclient", "10.0.0.1"):
        assert not Client.of_address(there).local, there


def test_keys_are_not_shown() -> None:
    key = Key("sk-secret", "alice")
    client, config = Client.of_key(key), ServerConfig(keys=(key, "sk-secret-too"))
    assert "sk-secret" not in repr((key, client, config)) and "alice" in repr(client)


def test_who_is_alone_on_this_machine_shares_with_nobody() -> None:
    places, _ = admission(max_streams=4)
    for _ in range(4):
        places.session(HERE)
    assert places.refusal == "full" and refused(places.session, A).status == 503


def test_limits_of_a_key() -> None:
    places, _ = admission(max_streams=8)
    small, none = (Client.of_key(Key(name, name, count, count)) for name, count in (("s", 2), ("n", 0)))
    with places.session(small), places.session(small):
        refused(places.session, small)
    for take in (places.session, places.recording):
        refused(take, none)
    # No more than all there are.
    large = Client.of_key(Key("l", "l", 100))
    for _ in range(8):
        places.session(large)
    refused(places.session, large)


def test_nothing_new_while_live_speech_is_late() -> None:
    late = [0.0]
    places, _ = admission(lambda: late[0], max_late_s=3.0)
    for seconds, admitted in ((2.9, True), (3.1, False), (2.0, False), (1.4, True), (2.9, True)):
        late[0] = seconds
        assert (places.refusal is None) == admitted == (not places.late), seconds
        for take in (places.session, places.recording):
            if admitted:
                take(A).release()
            else:
                assert refused(take, HERE).status == 503 and places.refusal == "late"


def test_nothing_new_while_the_server_drains() -> None:
    places, lifecycle = admission()
    lifecycle.drain()
    for take in (places.session, places.recording):
        assert refused(take, HERE).status == 503 and places.refusal == "draining"


def test_places_are_counted_from_many_threads() -> None:
    places, _ = admission(max_streams=50)
    most, lock, got = [0], threading.Lock(), [0]

    def use() -> None:
        for _ in range(200):
            try:
                with places.session(HERE), lock:
                    most[0] = max(most[0], places.sessions)
                    got[0] += 1
            except ApiError:
                pass

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert places.sessions == 0 and 0 < most[0] <= 50 and got[0] > 0
