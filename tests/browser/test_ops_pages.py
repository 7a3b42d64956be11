"""An operator looks after the queues in a real browser, on the whole of Haven; nobody else can, and no other site."""

from __future__ import annotations

import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import redis
from rq import Queue
from rq.serializers import JSONSerializer
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE_S = 60


@pytest.fixture
def rq_queue(live_stack):
    """A queue that the stack's worker serves."""
    parts = urlsplit(live_stack.environ["REDIS_URL"])
    url = parts._replace(path=f"/{live_stack.environ['JOB_QUEUE_REDIS_DB']}").geturl()
    connection = redis.Redis.from_url(url, socket_timeout=5)
    yield Queue("maintenance", connection=connection, serializer=JSONSerializer)
    connection.close()


@pytest.fixture
def failed(rq_queue, tmp_path, browser):
    """A job whose folder is not there yet: it fails, and would not once it is."""
    folder = tmp_path / "not-yet"
    job = rq_queue.enqueue("os.rmdir", str(folder), description=f"remove {folder.name} {uuid.uuid4().hex}")
    wait(browser, lambda: job.id in rq_queue.failed_job_registry.get_job_ids())
    yield job, folder
    rq_queue.failed_job_registry.remove(job, delete_job=True)


@pytest.fixture
def other_site(live_stack):
    """A page of somebody else, whose form empties a queue of ours."""
    action = f"{live_stack.url}/ops/queues/queue/maintenance/failed/empty"
    page = f'<form method="post" action="{action}"><button>Win a house</button></form>'.encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


def wait(browser, is_so):
    return WebDriverWait(browser, PATIENCE_S).until(lambda _: is_so())


def text_of(browser, selector="body"):
    """What an element shows, read in one go: the page writes itself anew."""
    return browser.execute_script(
        "return document.querySelector(arguments[0])?.innerText ?? ''", selector
    ).replace("\xa0", " ")


def sign_in(browser, stack, who):
    browser.get(f"{stack.url}/ops/sign-in")
    browser.find_element(By.NAME, "email").send_keys(who["email"])
    browser.find_element(By.NAME, "password").send_keys(who["password"])
    browser.find_element(By.TAG_NAME, "button").click()


def test_an_operator_signs_in_sees_the_queues_and_runs_a_failed_job_again(browser, live_stack, failed):
    job, folder = failed
    sign_in(browser, live_stack, live_stack.platform_admin)
    wait(browser, lambda: browser.find_elements(By.LINK_TEXT, "Queues"))
    browser.find_element(By.LINK_TEXT, "Queues").click()
    wait(browser, lambda: "maintenance" in text_of(browser, "#queues"))

    browser.get(f"{live_stack.url}/ops/queues/0/view/jobs/maintenance/failed/100/desc/1")
    row = f'tr[data-job-id="{job.id}"]'
    wait(browser, lambda: "FileNotFoundError" in text_of(browser, row))
    folder.mkdir()
    browser.find_element(By.CSS_SELECTOR, f"{row} [data-role=requeue-job-btn]").click()
    wait(browser, lambda: not folder.exists())
    wait(browser, lambda: text_of(browser, row) == "")
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []


def test_another_site_empties_no_queue_of_an_operator_who_is_signed_in(
    browser, live_stack, failed, rq_queue, other_site
):
    job, _ = failed
    sign_in(browser, live_stack, live_stack.platform_admin)
    wait(browser, lambda: browser.find_elements(By.LINK_TEXT, "Queues"))
    browser.get(other_site)
    browser.find_element(By.TAG_NAME, "button").click()
    wait(browser, lambda: browser.current_url.startswith(live_stack.url))
    wait(browser, lambda: '"status":' in text_of(browser).replace(" ", ""))
    assert '"status":40' in text_of(browser).replace(" ", "")
    assert job.id in rq_queue.failed_job_registry.get_job_ids()
    # The operator is signed in all the same: it was the other site that was refused.
    browser.get(f"{live_stack.url}/ops/queues/")
    wait(browser, lambda: "maintenance" in text_of(browser, "#queues"))


def test_an_agencys_administrator_is_refused(browser, live_stack):
    sign_in(browser, live_stack, live_stack.agency_admin)
    wait(browser, lambda: "These pages are for operators of the platform." in text_of(browser))
    browser.get(f"{live_stack.url}/ops/queues/")
    assert browser.current_url == f"{live_stack.url}/ops/sign-in"
