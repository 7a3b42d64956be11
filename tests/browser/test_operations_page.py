"""The operations page in a real browser, with the numbers of the API, by mouse and by keyboard."""

from __future__ import annotations

import time
import uuid
from itertools import pairwise

import httpx
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from sqlalchemy import select

from config import load_settings
from haven.db.base import PLATFORM
from haven.db.session import tenant_session
from haven.identity.models import Agency
from haven.operations import jobs
from haven.operations.alerts import WEBHOOK_DISABLED, raise_alert, resolve_alert
from haven.operations.jobs import job_session
from haven.operations.models import Alert, Job
from haven.runtime import Runtime
from tests.browser.looks import heat_contrasts, low_contrasts, unnamed
from tests.browser.test_ops_pages import sign_in, text_of, wait

REQUESTS = 23
GRAPHICS = [
    ("input", "borderTopColor"),
    (".dot", "backgroundColor"),
    (".bar div", "backgroundColor"),
    (".alert[data-state=FIRING]", "borderLeftColor"),
    (".span i", "borderTopColor"),
]


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


@pytest.fixture(scope="module")
def runtime(live_stack):
    """The stack as its processes have it, to do what the page shows."""
    found = Runtime.start(load_settings({**live_stack.environ, "SECRET_KEY": "k" * 40}))
    yield found
    found.engine.dispose()


@pytest.fixture
def alert(runtime):
    """What an alert of the platform that fires is about."""
    subject = f"webhook:{uuid.uuid4().hex[:8]}"
    with job_session(runtime, PLATFORM, "test") as session:
        raise_alert(session, WEBHOOK_DISABLED, subject)
    yield subject
    with job_session(runtime, PLATFORM, "test") as session:
        resolve_alert(session, WEBHOOK_DISABLED, subject)


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


def labelled(browser, label):
    """The button with that label, pressed in one go: the page writes it anew every few seconds."""
    return browser.execute_script(
        'const one = document.querySelector(`[aria-label="${arguments[0]}"]`); one?.focus(); return Boolean(one)',
        label,
    )


def press(browser, label):
    wait(browser, lambda: labelled(browser, label))
    ActionChains(browser).send_keys(Keys.ENTER).perform()


def dialog(browser):
    """What the browser asks or tells, once it does."""

    def shown():
        try:
            return browser.switch_to.alert
        except Exception:  # noqa: BLE001  there is none yet
            return None

    return wait(browser, shown)


def shown_span(browser):
    """How many seconds the charts show."""
    return browser.execute_script(
        "return uPlot.sync('haven').plots[0].data[0].at(-1) - uPlot.sync('haven').plots[0].data[0][0]"
    )


def complaints(browser):
    return [one for one in browser.get_log("browser") if one["level"] == "SEVERE"]


@pytest.mark.req("A1")
def test_its_numbers_are_those_of_the_api(page, live_stack):
    route = "GET /api/v1/owners"
    count = api_count(live_stack, route)
    assert count >= REQUESTS
    wait(page, lambda: row_of(page, route)[1] == f"{count:,}")
    assert "Nothing fires" in text_of(page, "#alerts") or page.find_elements(By.CSS_SELECTOR, ".alert")
    for part in ("#queues", "#breakers", "#processes", "#pool", "#statements"):
        wait(page, lambda part=part: page.find_elements(By.CSS_SELECTOR, f"{part} table caption"))
    charts = page.find_elements(By.CSS_SELECTOR, "#charts .plot")
    assert len(charts) == 8
    assert all("newest" in one.get_attribute("aria-label") for one in charts)
    assert not complaints(page)


@pytest.mark.req("A1")
def test_it_fits_in_both_themes_and_widths_and_all_of_it_can_be_read(page, alert):
    wait(page, lambda: alert in text_of(page, "#alerts"))
    for width in (1280, 390):
        page.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        wide, seen = page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= seen
        # A picture that is shrunk cannot be read.
        wait(page, lambda: page.execute_script("return heat.width === heat.clientWidth * devicePixelRatio"))
        for theme in ("light", "dark"):
            page.execute_script(
                "if (document.documentElement.dataset.theme !== arguments[0]) document.getElementById('theme').click()",
                theme,
            )
            found, checked = low_contrasts(page, GRAPHICS)
            assert found == [], (width, theme)
            assert checked["text"] > 100, checked
            assert checked["graphics"] > 5, checked
    assert unnamed(page) == []


def test_the_cells_of_the_heat_map_are_told_from_each_other_and_from_the_ground(page):
    """From one level to the next, in each colour, on a card and on one whose numbers are old."""
    page.set_script_timeout(20)
    page.execute_script("window.fetch = () => new Promise(() => {})")
    for theme in ("light", "dark"):
        for old in ("false", "true"):
            page.execute_script(
                "if (document.documentElement.dataset.theme !== arguments[0]) document.getElementById('theme').click();"
                "document.querySelector('main').dataset.old = arguments[1]",
                theme,
                old,
            )
            found = heat_contrasts(page, [0.001, 0.03, 0.1, 0.35, 1.0])
            for hue, levels in found["hues"].items():
                assert min(levels["steps"]) >= 1.25, (theme, old, hue, levels)
                assert levels["strongest"] >= 3, (theme, old, hue, levels)
            assert found["text"] >= 4.5, (theme, old, found["text"])
            assert found["text_ends"] < 58


def test_an_alert_is_acknowledged_and_silenced(page, runtime, alert):
    name = f"webhook_disabled, subject {alert}"

    def row():
        return next((one for one in text_of(page, "#alerts").split("webhook_disabled") if alert in one), "")

    press(page, f"Acknowledge {name}")
    wait(page, lambda: "taken by user:" in row())
    assert not labelled(page, f"Acknowledge {name}")

    press(page, f"Silence {name}")
    asked = dialog(page)
    asked.send_keys("soon")
    asked.accept()
    told = dialog(page)
    assert "from 1 to 10,080" in told.text
    told.accept()
    assert "silent until" not in row()
    press(page, f"Silence {name}")
    asked = dialog(page)
    asked.send_keys("5")
    asked.accept()
    wait(page, lambda: "silent until" in row())
    with tenant_session(runtime.engine, PLATFORM, is_platform=True) as session:
        found = session.execute(select(Alert).where(Alert.labels["subject"].astext == alert)).scalar_one()
        assert found.acknowledged_by
    assert not complaints(page)


def test_failed_jobs_run_again(page, runtime):
    with tenant_session(runtime.engine, PLATFORM, is_platform=True) as session:
        agency_id = session.execute(select(Agency.id).where(Agency.id != PLATFORM).limit(1)).scalar_one()
    with job_session(runtime, agency_id, "test") as session:
        session.info["job_attempts"] = 1
        job_id = jobs.submit(session, "report", {"report_id": str(uuid.uuid4())})

    def job():
        with tenant_session(runtime.engine, agency_id) as session:
            return session.get(Job, (agency_id, job_id))

    wait(page, lambda: job().status == "FAILED")
    ended = job().finished_at
    press(page, "Run failures of reports again")
    asked = dialog(page)
    assert "of every agency" in asked.text
    asked.accept()
    told = dialog(page)
    assert told.text.endswith("wait again.")
    assert int(told.text.split()[0]) >= 1
    told.accept()
    wait(page, lambda: job().status == "FAILED" and job().finished_at > ended)


def test_the_plan_of_a_statement_is_shown_and_the_keyboard_comes_back(page):
    wait(page, lambda: page.find_elements(By.CSS_SELECTOR, "#statements button"))
    label = page.find_element(By.CSS_SELECTOR, "#statements button").get_attribute("aria-label")
    press(page, label)
    wait(page, lambda: page.find_element(By.ID, "plan").is_displayed())
    assert "Plan" in text_of(page, "#plan-body") or "plan" in text_of(page, "#plan-body")
    # Behind it the tables are written anew.
    page.execute_script("document.querySelector('#statements table').dataset.old = 1")
    wait(page, lambda: not page.find_elements(By.CSS_SELECTOR, "#statements table[data-old]"))
    ActionChains(page).send_keys(Keys.ESCAPE).perform()
    wait(page, lambda: not page.find_element(By.ID, "plan").is_displayed())
    assert page.execute_script("return document.activeElement.ariaLabel") == label


def test_time_is_picked_zoomed_by_mouse_and_by_keys_and_back(page):
    page.find_element(By.CSS_SELECTOR, '[data-range="3600"]').send_keys(Keys.ENTER)
    wait(page, lambda: shown_span(page) > 3000)
    assert page.find_element(By.CSS_SELECTOR, '#ranges [aria-pressed="true"]').text == "1 h"

    plot = page.find_element(By.CSS_SELECTOR, "#charts .u-over")
    ActionChains(page).move_to_element(plot).click_and_hold().move_by_offset(60, 0).release().perform()
    back = page.find_element(By.ID, "zoom-out")
    wait(page, back.is_displayed)
    wait(page, lambda: shown_span(page) < 2000)
    assert not page.find_elements(By.CSS_SELECTOR, '#ranges [aria-pressed="true"]')
    back.click()
    wait(page, lambda: shown_span(page) > 3000)

    page.execute_script("document.querySelector('#charts .plot').focus()")
    ActionChains(page).send_keys("+").perform()
    wait(page, lambda: 1500 < shown_span(page) < 2000)
    ActionChains(page).send_keys(Keys.ARROW_LEFT).perform()
    ActionChains(page).send_keys("-").perform()
    wait(page, lambda: shown_span(page) > 2000)
    ActionChains(page).send_keys(Keys.ESCAPE).perform()
    wait(page, lambda: not back.is_displayed())
    wait(page, lambda: shown_span(page) > 3000)
    page.find_element(By.CSS_SELECTOR, '[data-range="2592000"]').click()
    wait(page, lambda: shown_span(page) > 2_000_000)
    assert not complaints(page)


def column(browser, at):
    return browser.execute_script(
        "return [...document.querySelectorAll('#routes tbody tr')].map(row => row.cells[arguments[0]].innerText)",
        at,
    )


def test_routes_are_sorted_and_filtered(page):
    def counts():
        return [int(one.replace(",", "")) for one in column(page, 1)]

    assert counts() == sorted(counts(), reverse=True)
    page.find_element(By.CSS_SELECTOR, '[data-sort="1"]').send_keys(Keys.ENTER)
    assert counts() == sorted(counts())
    page.find_element(By.CSS_SELECTOR, '[data-sort="0"]').send_keys(Keys.ENTER)
    heads = page.execute_script(
        "return [...document.querySelectorAll('#routes th')].map(one => one.ariaSort)"
    )
    assert heads[:2] == ["ascending", "none"]
    names = column(page, 0)
    assert names == page.execute_script("return arguments[0].toSorted((a, b) => a.localeCompare(b))", names)
    field = page.find_element(By.ID, "filter")
    field.send_keys("OWNERS")
    assert column(page, 0)
    assert all("owners" in one for one in column(page, 0))
    field.send_keys("-of-nobody")
    assert "No route has “OWNERS-of-nobody” in it." in text_of(page, "#routes")


_REACHABLE = """
return [...document.querySelectorAll('a, button, input, summary, [tabindex="0"]')]
  .filter(one => one.checkVisibility({visibilityProperty: true})).map((one, at) => (one.dataset.walk ??= String(at)))
"""
_FOCUSED = """
const one = document.activeElement, style = getComputedStyle(one);
const box = one.getBoundingClientRect();
return [one.dataset.walk ?? one.localName, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2, box.bottom > 0 && box.top < innerHeight]
"""


def test_all_of_it_is_reached_by_keyboard_alone(page):
    # What is written anew in between would be other elements.
    page.execute_script("window.fetch = () => new Promise(() => {})")
    wanted = set(page.execute_script(_REACHABLE))
    page.execute_script("document.activeElement.blur(); getSelection().collapse(document.body, 0)")
    reached, unseen = set(), []
    for _ in range(len(wanted) * 2):
        ActionChains(page).send_keys(Keys.TAB).perform()
        at, is_outlined, is_in_view = page.execute_script(_FOCUSED)
        if at == "body":
            break
        reached.add(at)
        if not (is_outlined and is_in_view):
            unseen.append(at)
    assert wanted - reached == set()
    assert unseen == []


def test_who_has_the_keyboard_keeps_it_when_the_page_is_written_anew(page):
    wait(page, lambda: page.find_elements(By.CSS_SELECTOR, "#statements button"))
    for selector in ('[data-sort="4"]', "#queues a"):
        sign = page.execute_script(
            "const one = document.querySelector(arguments[0]); one.focus(); one.dataset.old = 1; return one.innerText",
            selector,
        )
        wait(page, lambda: not page.find_elements(By.CSS_SELECTOR, "[data-old='1']:not(main)"))
        assert page.execute_script("return document.activeElement.innerText") == sign
    before = page.execute_script("return document.documentElement.dataset.theme")
    page.find_element(By.ID, "theme").send_keys(Keys.SPACE)
    after = page.execute_script("return document.documentElement.dataset.theme")
    assert {before, after} == {"light", "dark"}


_BE = """
Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});
document.dispatchEvent(new Event('visibilitychange'));
"""
_NOTE_TIMERS = """
window.timers = [];
const set = window.setTimeout;
window.setTimeout = (act, after, ...rest) => { window.timers.push(after); return set(act, after, ...rest); };
"""
_COUNT_FETCHES = """
window.fetches = 0;
const fetched = window.fetch;
window.fetch = (...asked) => { window.fetches++; return fetched(...asked); };
"""
_PUT_POLLS_OFF = """
const set = window.setTimeout;
window.setTimeout = (act, after) => { window.put_off = after; return set(act, after * 1000); };
"""


def polls(browser):
    """When the page asked for its numbers, in ms since it was opened."""
    return browser.execute_script(
        "return performance.getEntriesByType('resource').filter(one => one.name.includes('/ops/now')).map(one => one.startTime)"
    )


def test_it_asks_every_five_seconds_and_a_hidden_page_nothing_until_it_is_looked_at(page):
    began = len(polls(page))
    wait(page, lambda: len(polls(page)) >= began + 3)
    asked = polls(page)[began:]
    # A timer may be late, never early.
    assert min(later - one for one, later in pairwise(asked)) > 4900

    page.execute_script(_NOTE_TIMERS)
    page.execute_script(_BE, True)
    time.sleep(1)  # the one that was under way
    began, timers = len(polls(page)), page.execute_script("return window.timers.length")
    time.sleep(6)
    assert len(polls(page)) == began
    assert page.execute_script("return window.timers.length") == timers
    page.execute_script(_COUNT_FETCHES)
    page.execute_script(_BE, False)
    assert page.execute_script("return window.fetches") >= 1
    wait(page, lambda: len(polls(page)) >= began + 2)


def test_what_its_viewer_does_shows_at_once(page, alert):
    """Not only when the page would have asked again."""
    name = f"webhook_disabled, subject {alert}"
    wait(page, lambda: labelled(page, f"Acknowledge {name}"))
    page.execute_script(_PUT_POLLS_OFF)
    wait(page, lambda: page.execute_script("return window.put_off") == 5000)
    before = len(polls(page))
    assert labelled(page, f"Acknowledge {name}")
    press(page, f"Acknowledge {name}")
    wait(page, lambda: not labelled(page, f"Acknowledge {name}"))
    assert len(polls(page)) == before + 1
    assert "taken by user:" in text_of(page, "#alerts")
