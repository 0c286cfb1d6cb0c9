"""Under load: what is too much is turned away at once, and no accepted request is dropped when the service ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
import uvloop

from serving.admission import TURN_S, Admission
from serving.problems import Busy
from tests.conftest import CASE, Home, Server, serving, until
from tests.test_durability import kept
from tests.wire import Gone, Reply, Wire, get, post, told

PREDICT = "/v1/birth_weight/predict"
FULL = os.environ.get("GANCAO_PROOFS") == "full"


def test_one_more_than_may_be_open_is_turned_away_and_leaving_makes_room():
    admission = Admission(2)
    admission.enter()
    admission.enter()
    with pytest.raises(Busy, match="2 requests are being answered already"):
        admission.enter()
    admission.leave()
    admission.enter()


def test_the_sockets_are_looked_at_between_requests_that_compute():
    """A request that computes longer than a turn is followed by a look at the sockets, however many wait."""
    looks = 0
    seen: list[int] = []

    async def compute(admission: Admission) -> None:
        await admission.turn()
        seen.append(looks)
        time.sleep(2 * TURN_S)  # a model that computes

    async def story() -> None:
        nonlocal looks
        admission = Admission(10)
        waiting = [asyncio.create_task(compute(admission)) for _ in range(6)]
        while not all(task.done() for task in waiting):
            await asyncio.sleep(0)
            looks += 1

    uvloop.run(story())
    assert len(set(seen)) == 6
    assert seen == sorted(seen)


def test_a_full_worker_turns_away_and_is_still_watched(own_home: Home):
    """One request that is explained fills a worker that may have one."""
    home = Home(own_home.home, own_home.data, (("GANCAO_MAX_IN_FLIGHT", "1"),))
    slow = post(PREDICT, {"rows": [CASE] * 50, "explain": True})

    async def story(base: str) -> None:
        busy, other = await Wire.to(base), await Wire.to(base)

        async def ask() -> Reply:  # until it is the one that is let in
            while (reply := await busy.ask(slow)).status == 503:
                pass
            return reply

        asked = asyncio.create_task(ask())
        turned_away = 0
        while not asked.done():
            reply = await other.ask(post(PREDICT, {"rows": [CASE]}))
            if reply.status == 503:
                turned_away += 1
                assert reply.headers["retry-after"] == "2"
                assert reply.json()["type"] == "urn:gancao:problem:busy"
                assert len(reply.headers["x-request-id"]) == 24
                for path in ("/livez", "/readyz", "/metrics"):
                    assert (await other.ask(get(path))).status == 200
            await asyncio.sleep(0.01)
        assert (await asked).status == 200
        assert turned_away > 0
        assert (await other.ask(post(PREDICT, {"rows": [CASE]}))).status == 200

    with serving(home) as server:
        asyncio.run(story(server.base))
        assert '"requests_refused", "status": 503' in server.log.read_text()


def test_who_sends_slowly_takes_nobodys_place(own_home: Home):
    home = Home(own_home.home, own_home.data, (("GANCAO_MAX_IN_FLIGHT", "1"),))

    async def story(base: str) -> None:
        slow = [await Wire.to(base) for _ in range(5)]
        for wire in slow:
            wire.writer.write(post(PREDICT, {"rows": [CASE]})[:-1])
            await wire.writer.drain()
        assert (await (await Wire.to(base)).ask(post(PREDICT, {"rows": [CASE]}))).status == 200
        for wire in slow:
            assert (await wire.ask(b"}")).status == 200

    with serving(home) as server:
        asyncio.run(story(server.base))


@dataclass
class Heard:
    """What a crowd of clients was told, with the seconds that each answer took."""

    answered: list[float] = field(default_factory=list)
    turned_away: list[float] = field(default_factory=list)
    others: list[Reply] = field(default_factory=list)

    def p99_ms(self, name: str) -> float:
        took = sorted(getattr(self, name))
        return 1000 * took[int(0.99 * len(took))] if took else 0.0


async def crowd(base: str, clients: int, seconds: float) -> Heard:
    """So many clients that each ask, wait for the answer and ask again; turned away they do so a little later."""
    heard, ends = Heard(), time.monotonic() + seconds

    async def client() -> None:
        wire, asked = await Wire.to(base), post(PREDICT, {"rows": [CASE]})
        while time.monotonic() < ends:
            began = time.monotonic()
            reply = await wire.ask(asked)
            took = time.monotonic() - began
            if reply.status == 200:
                heard.answered.append(took)
            elif reply.status == 503 and reply.headers["retry-after"] == "2":
                heard.turned_away.append(took)
                await asyncio.sleep(0.02)
            else:
                heard.others.append(reply)
        wire.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return heard


@pytest.mark.proof
def test_a_flood_is_answered_or_turned_away_and_leaves_no_trace(own_home: Home):
    """In full: 256 clients for 60 s on one worker."""
    clients, seconds, most = (256, 60.0, 64) if FULL else (64, 5.0, 20)
    home = Home(own_home.home, own_home.data, (("GANCAO_MAX_IN_FLIGHT", str(most)),))
    with serving(home) as server:
        before = uvloop.run(crowd(server.base, 8, 2.0))
        flood = uvloop.run(crowd(server.base, clients, seconds))
        time.sleep(2)
        after = uvloop.run(crowd(server.base, 8, 2.0))
        rate = len(after.answered) / max(len(before.answered), 1)
        told(
            f"{clients} clients, {seconds:g} s: {len(flood.answered)} answered, p99 {flood.p99_ms('answered'):.0f} ms; "
            f"{len(flood.turned_away)} turned away, p99 {flood.p99_ms('turned_away'):.0f} ms; "
            f"afterwards {rate:.2f} times the speed of before"
        )
        assert not flood.others
        assert flood.answered
        assert flood.turned_away
        assert not after.turned_away
        assert not after.others
        assert len(flood.answered) + len(before.answered) + len(after.answered) == len(kept(home))


@dataclass
class Fates:
    """What became of requests. closed: a connection that had been used ended before a byte of an answer came, as HTTP
    allows it; dropped: any other end without an answer."""

    counts: Counter[str] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)


async def until_refused(base: str, server: Server, clients: int, after_s: float) -> Fates:
    """Clients that ask until nobody listens any more, half of them anew for every request; SIGTERM after a while."""
    fates = Fates()

    async def client(number: int) -> None:
        wire: Wire | None = None
        while True:
            fresh = wire is None
            try:
                wire = wire or await Wire.to(base)
            except (ConnectionRefusedError, ConnectionResetError, TimeoutError):  # asked nothing yet
                fates.counts["refused"] += 1
                return
            try:
                reply = await wire.ask(post(PREDICT, {"rows": [CASE] * (1 + number % 3)}))
            except Gone:
                fates.counts["dropped" if fresh else "closed"] += 1
                wire = None
                continue
            except asyncio.IncompleteReadError:
                fates.counts["dropped"] += 1
                return
            fates.counts[str(reply.status)] += 1
            if reply.status == 200:
                fates.ids.update(answer["prediction_id"] for answer in reply.json()["answers"])
            if number % 2 or reply.headers.get("connection") == "close":
                wire.close()
                wire = None

    async def end() -> None:
        await asyncio.sleep(after_s)
        server.process.send_signal(signal.SIGTERM)

    await asyncio.wait_for(asyncio.gather(end(), *(client(number) for number in range(clients))), 120)
    return fates


@pytest.mark.proof
def test_sigterm_under_load_drops_no_accepted_request(own_home: Home):
    """In full: 100 times. Two workers, 16 clients; what is in the journal is what the clients have read."""
    total: Counter[str] = Counter()
    received: set[str] = set()
    for number in range(100 if FULL else 2):
        with serving(own_home, "--workers", "2") as server:
            until(lambda: len(served(server, "1")) == 2, 60, server.log.read_text)
            fates = uvloop.run(until_refused(server.base, server, 16, 0.5 + 0.07 * (number % 10)))
            assert server.process.wait(30) == 0, server.log.read_text()
            assert "Traceback" not in server.log.read_text()
        total.update(fates.counts)
        received |= fates.ids
        assert fates.counts["dropped"] == 0, fates.counts
        assert received == kept(own_home), "what was accepted was answered, and the reverse"
    told(f"SIGTERM under load: {dict(total)}")
    assert set(total) <= {"200", "refused", "closed", "dropped"}
    assert total["200"] > 0


@pytest.mark.parametrize("used", [True, False], ids=["used", "new"])
def test_a_connection_that_was_open_at_sigterm_gets_one_more_answer_and_is_told_that_it_is_the_last(own_home, used):
    async def story(server: Server) -> None:
        wire = await Wire.to(server.base)
        if used:
            assert (await wire.ask(post(PREDICT, {"rows": [CASE]}))).headers.get("connection") is None
        server.process.send_signal(signal.SIGTERM)
        while True:  # until a new one is not let in any more
            try:
                other = await asyncio.wait_for(Wire.to(server.base), 0.1)
            except (OSError, TimeoutError):
                break
            other.close()
        connection = None
        while connection is None:  # until the worker has heard of it too
            reply = await wire.ask(post(PREDICT, {"rows": [CASE]}))
            assert reply.status == 200
            connection = reply.headers.get("connection")
        assert connection == "close"
        assert await wire.ended()

    with serving(own_home) as server:
        asyncio.run(story(server))
        assert server.process.wait(20) == 0


def test_two_workers_answer_with_a_new_version_within_5_s(own_home: Home):
    with serving(own_home, "--workers", "2") as server:
        until(lambda: len(served(server, "1")) == 2, 60, server.log.read_text)
        second = own_home.json("train", "birth_weight", "--budget", "2trials", "--seed", "3")["version"]
        own_home.run("promote", "birth_weight", second, "--force")
        until(lambda: len(served(server, second)) == 2, 5, server.log.read_text)

        async def versions() -> set[str]:
            wires = [await Wire.to(server.base) for _ in range(40)]
            replies = await asyncio.gather(*(wire.ask(get("/v1/birth_weight")) for wire in wires))
            with contextlib.suppress(ConnectionError):
                for wire in wires:
                    wire.close()
            return {reply.json()["version"] for reply in replies}

        assert asyncio.run(versions()) == {second}


def served(server: Server, version: str) -> list[str]:
    """The lines with which workers say that they answer with a version."""
    text = server.log.read_text()
    return [line for line in text.splitlines() if '"version_serving"' in line and f'"version": "{version}"' in line]
