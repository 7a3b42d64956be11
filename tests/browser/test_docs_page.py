"""The page that shows the API, in a real browser."""

from __future__ import annotations

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


def test_the_docs_show_every_endpoint_and_find_one(browser, live_stack):
    browser.get(f"{live_stack.url}/docs")
    WebDriverWait(browser, 15).until(lambda page: page.find_elements(By.CSS_SELECTOR, "details"))
    shown = browser.find_elements(By.CSS_SELECTOR, "details")
    operations = browser.execute_async_script(
        "const done = arguments[0]; fetch('/api/v1/openapi.json').then(a => a.json()).then(spec => done("
        "Object.values(spec.paths).flatMap(p => Object.keys(p).filter(m => m !== 'parameters')).length))"
    )
    assert len(shown) == operations

    browser.find_element(By.ID, "find").send_keys("stk-push")
    visible = [one for one in shown if one.is_displayed()]
    assert len(visible) == 1
    visible[0].find_element(By.TAG_NAME, "summary").click()
    assert "phone" in visible[0].text

    complaints = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    # This page's policy lets in no picture: that of the tab neither.
    assert [entry for entry in complaints if "favicon" not in entry["message"]] == []


def test_the_docs_load_nothing_from_outside(browser, live_stack):
    browser.get(f"{live_stack.url}/docs")
    WebDriverWait(browser, 15).until(lambda page: page.find_elements(By.CSS_SELECTOR, "details"))
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert [address for address in loaded if not address.startswith(live_stack.url)] == []
