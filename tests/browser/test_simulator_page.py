"""The simulator's page of ringing phones, in a real browser."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.mpesa.conftest import a_client, a_phone, push, running_simulator

PATIENCE_S = 30


@pytest.fixture(scope="module")
def receiver_url():
    """An address that takes every callback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def simulator():
    with running_simulator("--mode", "manual", "--seed", "page") as simulator:
        yield simulator


def wait(browser, is_so):
    return WebDriverWait(browser, PATIENCE_S).until(lambda _: is_so())


def text_of(browser, selector):
    """What an element shows, read in one go: the page writes itself anew each second."""
    script = "return document.querySelector(arguments[0])?.innerText ?? ''"
    return browser.execute_script(script, selector).replace("\xa0", " ")


@pytest.mark.parametrize(
    "action, end",
    [("pay", "Paid"), ("cancel", "Cancelled"), ("wrong_pin", "Wrong PIN"), ("ignore", "No answer")],
)
def test_a_person_answers_a_ringing_phone(browser, simulator, receiver_url, action, end):
    browser.get(simulator.url)
    phone = a_phone()
    with a_client(simulator) as client:
        push(client, phone, receiver_url)
    wait(browser, lambda: phone[-3:] in text_of(browser, "#phones .phone"))
    assert "KES 25,000 to 174379, account UNITG70?" in text_of(browser, "#phones .phone .ask")

    browser.find_element(By.CSS_SELECTOR, f"#phones [data-action={action}]").click()

    wait(browser, lambda: end in text_of(browser, "#past"))
    wait(browser, lambda: "200" in text_of(browser, "#past"))
    assert text_of(browser, "#phones") == ""
    assert text_of(browser, "#moved") == ("KES 25,000" if action == "pay" else "KES 0")
    assert browser.find_element(By.ID, "silence").is_displayed()


def test_a_payer_pays_by_paybill_and_a_wrong_phone_is_told_of(browser, simulator):
    browser.get(simulator.url)
    fields = {name: browser.find_element(By.NAME, name) for name in ("phone", "amount", "account")}
    fields["phone"].send_keys("0712345678")
    fields["amount"].send_keys("900")
    fields["account"].send_keys("G-70")
    browser.find_element(By.CSS_SELECTOR, "#pay button").click()
    wait(browser, lambda: text_of(browser, "#pay-result").startswith("Receipt "))
    wait(browser, lambda: text_of(browser, "#moved") == "KES 900")

    fields["phone"].clear()
    fields["phone"].send_keys("12")
    browser.find_element(By.CSS_SELECTOR, "#pay button").click()
    wait(browser, lambda: "phone" in text_of(browser, "#trouble"))


def test_the_page_complains_of_nothing_and_fits_a_phone(browser, simulator, receiver_url):
    with a_client(simulator) as client:
        push(client, a_phone(), receiver_url)
    for width in (1280, 390):
        browser.set_window_size(width, 900)
        browser.get(simulator.url)
        wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#phones .phone"))
        wide = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []
