"""Pages behind a sign-in: a session, its forms, and its end."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from serving import keys
from tests.conftest import CASE, need, until
from tests.keyed import Keyed, bearer

FORM = "/form/birth_weight"
TYPED = {"gestation_weeks": "39"}


def visitor(keyed: Keyed, **more: str) -> httpx.Client:
    return httpx.Client(base_url=keyed.server.base, timeout=30, headers={"sec-fetch-site": "same-origin", **more})


@contextmanager
def signed_in(keyed: Keyed, words: str) -> Iterator[httpx.Client]:
    with visitor(keyed) as client:
        response = client.post("/login", data={"key": words, "goes_to": FORM})
        assert response.status_code == 303, response.text
        yield client


def token(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert found, page.text
    return found[1]


def test_a_page_asks_to_sign_in_and_leads_back_to_itself(keyed_server: Keyed):
    with visitor(keyed_server) as client:
        page = client.get(f"{FORM}?lang=zh")
        assert (page.status_code, "登录" in page.text) == (401, True)
        assert f'name="goes_to" value="{FORM}?lang=zh"' in page.text
        assert "gestation" not in page.text.replace(FORM, "")
        response = client.post("/login", data={"key": keyed_server.words["predict"], "goes_to": f"{FORM}?lang=zh"})
        assert (response.status_code, response.headers["location"]) == (303, f"{FORM}?lang=zh")
        assert client.get(f"{FORM}?lang=zh").status_code == 200


def test_the_cookie_is_kept_from_scripts_other_sites_and_plain_http(keyed_server: Keyed):
    for scheme, name in (("http", "gancao"), ("https", "__Host-gancao")):
        with visitor(keyed_server, **{"x-forwarded-proto": scheme}) as client:
            response = client.post("/login", data={"key": keyed_server.words["all"], "goes_to": "/"})
        cookie = response.headers["set-cookie"]
        assert cookie.startswith(f"{name}=")
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= parts
        assert ("secure" in parts) == (scheme == "https")
        assert not any(part.startswith("domain") for part in parts)
        assert keyed_server.words["all"] not in cookie


@pytest.mark.parametrize("kind", ["wrong secret", "unknown", "nonsense", "expired", "revoked"])
@pytest.mark.parametrize(("lang", "said"), [("en", "Please sign in again"), ("zh", "请重新登录")])
def test_a_key_that_is_not_accepted_opens_no_session(keyed_server: Keyed, kind, lang, said):
    with visitor(keyed_server) as client:
        response = client.post(f"/login?lang={lang}", data={"key": keyed_server.words[kind], "goes_to": FORM})
        assert response.status_code == 401
        assert "set-cookie" not in response.headers
        assert said in response.text
        assert keyed_server.words[kind] not in response.text


@pytest.mark.parametrize(
    "goes_to", ["https://evil.example", "//evil.example", "/\\evil.example", "", "/logout", "/\n/x"]
)
def test_signing_in_leads_to_pages_of_this_server_only(keyed_server: Keyed, goes_to):
    with visitor(keyed_server) as client:
        response = client.post("/login", data={"key": keyed_server.words["all"], "goes_to": goes_to})
        assert response.headers["location"] == "/?lang=en"


def test_a_form_is_answered_with_the_token_of_its_session_only(keyed_server: Keyed):
    words = keyed_server.words["all"]
    with signed_in(keyed_server, words) as one, signed_in(keyed_server, words) as other:
        own, foreign = token(one.get(FORM)), token(other.get(FORM))
        assert own != foreign
        for sent in ({}, {"csrf": ""}, {"csrf": foreign}, {"csrf": "é"}):
            refused = one.post(FORM, data={**TYPED, **sent})
            assert (refused.status_code, "open the page again" in refused.text) == (403, True)
        assert one.post(FORM, json={"csrf": own}).status_code == 403
        answered = one.post(FORM, data={**TYPED, "csrf": own})
        assert answered.status_code == 200
        assert 'id="prediction-id"' in answered.text
        assert token(answered) == own
        assert one.post(FORM, data={**TYPED, "csrf": own}, headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_what_came_true_is_kept_from_a_session(keyed_server: Keyed):
    with signed_in(keyed_server, keyed_server.words["all"]) as client:
        csrf = token(client.get(FORM))
        answered = client.post(FORM, data={**TYPED, "csrf": csrf})
        number = re.search(r'id="prediction-id">([^<]+)<', answered.text)[1]
        page = f"{FORM}/outcome/{number}"
        data = {"prediction_id": number, "birth_weight_g": "3390"}
        assert token(client.get(page)) == csrf
        assert client.post(page, data=data).status_code == 403
        kept = client.post(page, data={**data, "csrf": csrf})
        assert kept.status_code == 200
        assert 'data-status="stored"' in kept.text


def test_a_session_reads_but_does_not_write_over_rest(keyed_server: Keyed):
    with signed_in(keyed_server, keyed_server.words["all"]) as client:
        for path in ("/v1", "/v1/birth_weight", "/openapi.json", "/metrics", "/docs", "/"):
            assert client.get(path).status_code == 200
        assert client.post("/v1/birth_weight/predict", json={"rows": [CASE]}).status_code == 401


def test_a_session_may_do_what_its_key_may(keyed_server: Keyed):
    with signed_in(keyed_server, keyed_server.words["outcome"]) as client:
        assert client.get(f"{FORM}/outcome").status_code == 200
        refused = client.get(FORM)
        assert (refused.status_code, "is not for this page" in refused.text) == (403, True)
    with signed_in(keyed_server, keyed_server.words["other_task"]) as client:
        assert client.get(FORM).status_code == 403


def test_signing_out_ends_the_session_in_every_worker(keyed_server: Keyed):
    with signed_in(keyed_server, keyed_server.words["all"]) as client:
        cookies, csrf = dict(client.cookies), token(client.get(FORM))
        assert client.post("/logout").status_code == 403, "without its token another page could do it"
        assert client.get(FORM).status_code == 200
        assert client.post("/logout", data={"csrf": csrf}).status_code == 303
        assert client.get(FORM).status_code == 401
    asked = {httpx.get(keyed_server.server.base + FORM, cookies=cookies).status_code for _ in range(30)}
    assert asked == {401}


def test_a_session_ends_when_its_key_is_revoked_or_expires(keyed_server: Keyed):
    key, words = keyed_server.new()
    other, its_words = keyed_server.new()
    with signed_in(keyed_server, words) as one, signed_in(keyed_server, its_words) as two:
        keys.revoke(keyed_server.path, key.id)
        with sqlite3.connect(keyed_server.path) as connection:
            connection.execute("UPDATE keys SET expires_s = 1000 WHERE id = ?", (other.id,))
        connection.close()
        for client in (one, two):
            cookies = dict(client.cookies)
            until(
                lambda cookies=cookies: {
                    httpx.get(keyed_server.server.base + FORM, cookies=cookies).status_code for _ in range(20)
                } == {401},
                10,
                lambda: "the session goes on",
            )  # fmt: skip


def test_nothing_changes_for_a_server_without_keys(server):
    assert server.get("/login").status_code == 303
    assert server.post("/login", data={"key": "x"}).status_code == 303
    assert server.post("/logout").status_code == 303
    page = server.get(FORM)
    assert "csrf" not in page.text
    assert "/logout" not in page.text


def test_what_signs_in_is_not_in_the_log(keyed_server: Keyed):
    with signed_in(keyed_server, keyed_server.words["all"]) as client:
        session = client.cookies["gancao"]
    log = keyed_server.server.log.read_text()
    assert f'"signed_in", "key": "{keyed_server.words["all"].split("_")[1]}"' in log
    assert session not in log
    assert keyed_server.words["all"].split("_", 2)[2] not in log


def test_a_header_goes_before_a_cookie(keyed_server: Keyed):
    with signed_in(keyed_server, keyed_server.words["all"]) as client:
        assert client.get("/v1", headers=bearer("nonsense")).status_code == 401


@pytest.mark.parametrize(("lang", "sign_out"), [("en", "Sign out"), ("zh", "退出登录")])
def test_a_clinician_signs_in_asks_and_signs_out_in_a_browser(keyed_server: Keyed, lang, sign_out):
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    path = next(filter(None, found), None)
    need(path, "no Chromium on PATH: `make tools` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(base_url=keyed_server.server.base, java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{FORM}?lang={lang}")
        page.locator("#f-key").fill("gck_wrong")
        page.locator("#submit").click()
        expect(page.locator("#trouble")).to_be_visible()
        page.locator("#f-key").fill(keyed_server.words["all"])
        page.locator("#submit").click()
        page.locator("#f-gestation_weeks").fill("39")
        page.locator("#submit").click()
        expect(page.locator("#prediction-id")).to_be_visible()
        page.locator("#outcome-link").click()
        page.locator("#f-birth_weight_g").fill("3390")
        page.locator("#submit").click()
        expect(page.locator("#kept-value")).to_be_visible()
        expect(page.locator("#sign-out")).to_have_text(sign_out)
        page.locator("#sign-out").click()
        expect(page.locator("#f-key")).to_be_visible()
        page.goto(f"{FORM}?lang={lang}")
        expect(page.locator("#f-key")).to_be_visible()
        browser.close()
