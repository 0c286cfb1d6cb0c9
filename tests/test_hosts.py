"""By what names a server is asked: a page elsewhere that lets its own name lead here is told nothing."""

from __future__ import annotations

import pytest

from feature_store.errors import StrangeHost
from feature_store.settings import Settings
from serving import keys
from serving.reach import Names
from tests.conftest import Home, serving, until
from tests.keyed import bearer
from tests.test_jobs import made

OURS = [
    "localhost", "localhost:8000", "LOCALHOST:1", "gancao.localhost:8000", "127.0.0.1", "127.0.0.1:8000",
    "127.9.9.9:80", "[::1]", "[::1]:8000", "192.168.1.7:8000",
]  # fmt: skip
STRANGE = [
    "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost", "",
    ":8000", "[evil.example]:8000", "127.0.0.1@evil.example", "\xff", "2130706433", "0x7f.1",
]  # fmt: skip


def takes(asked: str | None, **settings: object) -> bool:
    try:
        Names(Settings.model_validate(settings)).refuse_strange(None if asked is None else asked.encode("latin-1"))
    except StrangeHost as error:
        assert not asked or asked not in str(error)
        return False
    return True


@pytest.mark.parametrize("host", OURS)
def test_this_machine_is_asked_by_localhost_and_by_addresses(host):
    assert takes(host)


@pytest.mark.parametrize("host", STRANGE)
def test_other_names_are_strange_and_not_repeated(host):
    assert not takes(host)
    assert not takes(host, open=True), "on loopback whoever asks"
    assert takes(host, open=True, host="0.0.0.0"), "elsewhere names are not known beforehand"


def test_names_of_the_settings_do_too():
    for more in ({}, {"host": "0.0.0.0", "open": True}):
        assert takes("Ward7:8000", hosts="gancao.example, ward7", **more)
        assert takes("gancao.example.", hosts="gancao.example, ward7", **more)
        assert takes("127.0.0.1:8000", hosts="gancao.example", **more)
        assert not takes("evil.example", hosts="gancao.example, ward7", **more)
    assert takes(None), "a program that sends no Host"


def test_a_strange_name_gets_421_and_with_keys_it_is_the_key_that_counts(tmp_path):
    house = made(tmp_path / "home")
    home = Home(house.home, house.data, (("GANCAO_HOSTS", "ward7"),))
    rebound = {"host": "evil.example", "origin": "http://evil.example", "sec-fetch-site": "same-origin"}
    asked = {"rows": [{}]}
    with serving(home) as server:
        for path in ("/v1", "/v1/order", "/readyz", "/metrics", "/openapi.json", "/v1/order/jobs"):
            response = server.get(path, headers=rebound)
            assert (response.status_code, response.json()["type"]) == (421, "urn:gancao:problem:strange-host"), path
            assert "evil" not in response.text
            assert server.get(path, headers={"host": "ward7"}).status_code == 200, path
        assert server.post("/v1/order/predict", json=asked, headers=rebound).status_code == 421
        page = server.get("/form/order?lang=zh", headers=rebound)
        assert page.status_code == 421
        assert "127.0.0.1" in page.text
        assert "<form" not in page.text
        assert server.get("/form/order").status_code == 200
        assert server.get("/livez", headers=rebound).status_code == 200
        word = keys.create(home.home / "keys.db")[1]
        until(lambda: server.get("/v1", headers=rebound).status_code == 401, 30, lambda: "the key is not asked for")
        assert server.get("/v1", headers={**rebound, **bearer(word)}).status_code == 200
