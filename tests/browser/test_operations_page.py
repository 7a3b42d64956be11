"""The operations page in a real browser, with the numbers of the API."""

from __future__ import annotations

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.test_ops_pages import sign_in, text_of, wait

REQUESTS = 23


@pytest.fixture
def page(browser, live_stack):
    with httpx.Client(base_url=f"{live_stack.url}/api/v1", timeout=30) as client:
        client.headers["Authorization"] = f"Bearer {live_stack.agency_admin['api_key']}"
        for _ in range(REQUESTS):
            assert client.get("/owners?limit=3").status_code == 200
    sign_in(browser, live_stack, live_stack.platform_admin)
    wait(browser, lambda: "requests a second" in text_of(browser, "#numbers"))
    wait(browser, lambda: "GET /api/v1/owners" in text_of(browser, "#routes"))
    return browser


def row_of(browser, route):
    rows = browser.execute_script(
        "return [...document.querySelectorAll('#routes tbody tr')].map(row => [...row.cells].map(one => one.innerText))"
    )
    return next((row for row in rows if row[0] == route), None)


def api_count(stack, route):
    with httpx.Client(base_url=f"{stack.url}/api/v1", timeout=30) as client:
        tokens = client.post(
            "/auth/login", json={k: stack.platform_admin[k] for k in ("email", "password")}
        ).json()
        answer = client.get(
            "/monitoring/performance?window=300",
            headers={"Authorization": f"Bearer {tokens['access_token']}"},
        ).json()
    return next(one["count"] for one in answer["endpoints"] if f"{one['method']} {one['route']}" == route)


@pytest.mark.req("A1")
def test_its_numbers_are_those_of_the_api(page, live_stack):
    route = "GET /api/v1/owners"
    count = api_count(live_stack, route)
    assert count >= REQUESTS
    wait(page, lambda: row_of(page, route)[1] == f"{count:,}")
    assert "Nothing fires" in text_of(page, "#alerts") or page.find_elements(By.CSS_SELECTOR, ".alert")
    for part in ("#queues", "#breakers", "#processes", "#pool", "#statements"):
        assert page.find_elements(By.CSS_SELECTOR, f"{part} table caption"), part
    charts = page.find_elements(By.CSS_SELECTOR, "#charts .plot")
    assert len(charts) == 8
    assert all("newest" in one.get_attribute("aria-label") for one in charts)
    faults = [one for one in page.get_log("browser") if one["level"] == "SEVERE"]
    assert not faults, faults


@pytest.mark.req("A1")
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits(page, width):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    wide, seen = page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= seen


def test_it_goes_by_keyboard_and_in_the_dark(page):
    sort = page.find_element(By.CSS_SELECTOR, '[data-sort="0"]')
    sort.send_keys(Keys.ENTER)
    heads = page.execute_script(
        "return [...document.querySelectorAll('#routes th')].map(one => one.ariaSort)"
    )
    assert heads[0] == "ascending"
    page.find_element(By.ID, "filter").send_keys("owners")
    wait(page, lambda: len(page.find_elements(By.CSS_SELECTOR, "#routes tbody tr")) < 4)
    before = page.execute_script("return document.documentElement.dataset.theme")
    page.find_element(By.ID, "theme").send_keys(Keys.SPACE)
    after = page.execute_script("return document.documentElement.dataset.theme")
    assert {before, after} == {"light", "dark"}
    page.find_element(By.CSS_SELECTOR, '[data-range="3600"]').send_keys(Keys.ENTER)
    pressed = page.find_element(By.CSS_SELECTOR, '#ranges [aria-pressed="true"]')
    assert pressed.text == "1 h"
    assert not page.execute_script(
        "return [...document.querySelectorAll('button, input')].filter(one => !(one.innerText || one.labels?.length || one.ariaLabel)).length"
    )
