"""Each scenario, as the client and a receiver of callbacks see it."""

import json
import time
from decimal import Decimal

import pytest

from haven.payments.mpesa import (
    MpesaClient,
    Outcome,
    PushBusy,
    PushNotSent,
    PushRejected,
    PushUnknown,
    UnreadableCallback,
    outcome_of,
    parse_stk_callback,
)
from haven.payments.mpesa.receipts import is_odd_receipt
from haven.payments.mpesa.simulator.scenarios import SCENARIOS
from tests.mpesa.conftest import Simulator, a_client, a_phone, push, wait_until

SETTLED = [row for row in SCENARIOS.values() if row.result != "0"]
PAID_SHAPES = [
    "8807 8808 8809 8810 8811 8812 8813 8814".split(),
    [
        "masked_phone",
        "no_phone",
        "old_balance",
        "balance_map",
        "text_date",
        "integer_amount",
        "shuffled",
        "no_receipt",
    ],
]


def ended(client: MpesaClient, checkout: str) -> str:
    """The code a query gives once the push has ended."""
    wait_until(lambda: client.query(checkout).code != "4999")
    return client.query(checkout).code


def test_a_phone_pays_and_the_callback_tells_all(client, simulator, receiver):
    phone = a_phone()
    accepted = push(client, phone, receiver.url)
    (heard,) = receiver.wait_for(1)
    callback = parse_stk_callback(heard.body)
    assert callback.checkout_request_id == accepted.checkout_request_id
    assert callback.merchant_request_id == accepted.merchant_request_id
    assert outcome_of(callback.result_code) is Outcome.PAID
    assert callback.amount == Decimal(25_000)
    assert callback.phone == phone
    assert callback.receipt is not None
    assert not is_odd_receipt(callback.receipt, callback.paid_at)
    assert heard.headers["Businessshortcode"] == "174379"
    assert heard.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert [row["receipt"] for row in simulator.moved_of(phone)] == [callback.receipt]
    assert client.query(accepted.checkout_request_id).state == "PAID"


def test_the_checkout_id_holds_the_payers_last_nine_digits(client, receiver):
    phone = a_phone()
    assert push(client, phone, receiver.url).checkout_request_id.endswith(phone[-9:])


@pytest.mark.parametrize("scenario", SETTLED, ids=lambda row: row.name)
def test_a_push_that_ends_otherwise_moves_no_money(scenario, client, simulator, receiver):
    phone = a_phone(scenario.ending)
    accepted = push(client, phone, receiver.url)
    (heard,) = receiver.wait_for(1)
    callback = parse_stk_callback(heard.body)
    assert callback.result_code == scenario.result
    assert callback.amount is None
    assert simulator.moved_of(phone) == []
    state = client.query(accepted.checkout_request_id)
    expected = "PENDING" if outcome_of(scenario.result) is Outcome.PENDING else "FAILED"
    assert (state.state, state.code) == (expected, scenario.result)


def test_a_query_has_other_words_than_the_callback(client, receiver):
    accepted = push(client, a_phone("1037"), receiver.url)
    (heard,) = receiver.wait_for(1)
    assert parse_stk_callback(heard.body).result_text == "No response from user."
    assert client.query(accepted.checkout_request_id).text == "DS timeout user cannot be reached."


@pytest.mark.parametrize("ending,name", list(zip(*PAID_SHAPES, strict=True)))
def test_every_shape_of_a_paid_callback_is_read(ending, name, client, simulator, receiver):
    phone = a_phone(ending)
    push(client, phone, receiver.url)
    (heard,) = receiver.wait_for(1)
    callback = parse_stk_callback(heard.body)
    (row,) = simulator.moved_of(phone)
    assert callback.result_code == "0"
    assert callback.amount == Decimal(25_000)
    assert callback.paid_at is not None
    assert callback.phone == (None if name in {"masked_phone", "no_phone"} else phone)
    assert callback.receipt == (None if name == "no_receipt" else row["receipt"])


@pytest.mark.parametrize(
    "ending,error,code",
    [
        ("1001", PushBusy, "500.001.1001"),
        ("4000", PushRejected, "400.002.02"),
        ("4012", PushRejected, "404.001.03"),
        ("4029", PushNotSent, "policies.ratelimit.SpikeArrestViolation"),
        ("5005", PushRejected, "500.001.1001"),
        ("5006", PushRejected, "500.001.1001"),
        ("5007", PushNotSent, "500.003.02"),
        ("5003", PushUnknown, "HTTP 503"),
    ],
)
def test_a_refused_push_does_not_ring(ending, error, code, client, simulator, receiver):
    phone = a_phone(ending)
    with pytest.raises(error) as refused:
        push(client, phone, receiver.url)
    assert type(refused.value) is error
    assert refused.value.code == code
    assert simulator.pushes_of(phone) == []


def test_a_set_up_that_is_wrong_is_told_from_a_payer_who_is(client, receiver):
    with pytest.raises(PushRejected) as wrong_setup:
        push(client, a_phone("5006"), receiver.url)
    with pytest.raises(PushRejected) as wrong_payer:
        push(client, a_phone("4000"), receiver.url)
    assert wrong_setup.value.is_configuration
    assert not wrong_payer.value.is_configuration


def test_a_throttle_says_when_to_come_again(client, receiver):
    with pytest.raises(PushNotSent) as refused:
        push(client, a_phone("4029"), receiver.url)
    assert refused.value.retry_after_s == 60


@pytest.mark.parametrize("ending", ["5016", "5017", "5018", "5019"])
def test_an_answer_that_hides_the_ringing_leaves_it_open_and_rings_once(ending, client, simulator, receiver):
    phone = a_phone(ending)
    with pytest.raises(PushUnknown):
        push(client, phone, receiver.url)
    receiver.wait_for(1)
    assert len(simulator.pushes_of(phone)) == 1
    assert len(simulator.moved_of(phone)) == 1


def test_a_slow_answer_is_given_up_and_the_phone_rings_once(simulator, redis, receiver):
    phone = a_phone("5015")
    with a_client(simulator, redis, timeout_s=10) as patient:
        patient.query("ws_CO_1")  # so that the token is there
    with a_client(simulator, redis, timeout_s=0.15) as client, pytest.raises(PushUnknown, match="NO_ANSWER"):
        push(client, phone, receiver.url)
    receiver.wait_for(1)
    time.sleep(0.5)
    assert len(simulator.pushes_of(phone)) == 1
    assert len(simulator.moved_of(phone)) == 1


def test_a_second_push_to_a_ringing_phone_is_busy(simulator, redis, receiver):
    phone = a_phone("1019")
    with a_client(simulator, redis) as client:
        push(client, phone, receiver.url)
        with pytest.raises(PushBusy) as busy:
            push(client, phone, receiver.url)
    assert busy.value.retry_after_s == 60
    assert len(simulator.pushes_of(phone)) == 1


def test_two_pushes_with_one_reference_are_two_payments(client, simulator, receiver):
    phone = a_phone()
    push(client, phone, receiver.url)
    receiver.wait_for(1)
    push(client, phone, receiver.url)
    receiver.wait_for(2)
    assert len({row["receipt"] for row in simulator.moved_of(phone)}) == 2


def test_no_callback_and_only_a_query_tells(client, simulator, receiver):
    phone = a_phone("8801")
    accepted = push(client, phone, receiver.url)
    assert ended(client, accepted.checkout_request_id) == "0"
    time.sleep(0.2)
    assert receiver.heard == []
    assert len(simulator.moved_of(phone)) == 1


def test_the_same_callback_comes_twice(client, simulator, receiver):
    phone = a_phone("8802")
    push(client, phone, receiver.url)
    first, second = receiver.wait_for(2)
    assert first.body == second.body
    assert len(simulator.moved_of(phone)) == 1


def test_the_callback_comes_before_the_answer_to_the_push(client, receiver):
    accepted = push(client, a_phone("8803"), receiver.url)
    answered_at = time.monotonic()
    (heard,) = receiver.heard
    assert heard.at < answered_at
    assert parse_stk_callback(heard.body).checkout_request_id == accepted.checkout_request_id


def test_a_late_callback_comes_after_the_query_has_said_paid(client, receiver):
    accepted = push(client, a_phone("8804"), receiver.url)
    assert ended(client, accepted.checkout_request_id) == "0"
    assert receiver.heard == []
    receiver.wait_for(1)


def test_a_callback_names_an_id_nobody_knows(client, receiver):
    accepted = push(client, a_phone("8805"), receiver.url)
    (heard,) = receiver.wait_for(1)
    assert parse_stk_callback(heard.body).checkout_request_id != accepted.checkout_request_id


def test_a_callback_reports_another_amount_than_moved(client, simulator, receiver):
    phone = a_phone("8806")
    push(client, phone, receiver.url)
    (heard,) = receiver.wait_for(1)
    assert parse_stk_callback(heard.body).amount == Decimal(25_010)
    assert simulator.moved_of(phone)[0]["amount"] == 25_000


@pytest.mark.parametrize("ending,codes", [("8815", ["0", "1037"]), ("8816", ["1037", "0"])])
def test_callbacks_contradict_each_other_and_the_money_moved(ending, codes, client, simulator, receiver):
    phone = a_phone(ending)
    push(client, phone, receiver.url)
    heard = receiver.wait_for(2)
    assert [parse_stk_callback(row.body).result_code for row in heard] == codes
    assert len(simulator.moved_of(phone)) == 1


def test_a_callback_that_is_no_json_and_then_the_good_one(client, receiver):
    push(client, a_phone("8817"), receiver.url)
    garbled, good = receiver.wait_for(2)
    with pytest.raises(UnreadableCallback):
        parse_stk_callback(garbled.body)
    assert parse_stk_callback(good.body).result_code == "0"


@pytest.mark.parametrize(
    "ending,in_flight",
    [("6601", "500.001.1001"), ("6602", "400.002.02"), ("5555", "4999"), ("6606", "HTTP 503")],
)
def test_every_answer_in_flight_is_pending(ending, in_flight, client, receiver):
    accepted = push(client, a_phone(ending), receiver.url)
    answer = client.query(accepted.checkout_request_id)
    assert (answer.state, answer.code) == ("PENDING", in_flight)


def test_a_throttled_query_is_pending_and_says_when(client, receiver):
    accepted = push(client, a_phone("6603"), receiver.url)
    client.query(accepted.checkout_request_id)
    answer = client.query(accepted.checkout_request_id)
    assert (answer.state, answer.retry_after_s) == ("PENDING", 60)


def test_a_query_may_say_failed_of_a_payment_that_went_through(client, simulator, receiver):
    phone = a_phone("6604")
    accepted = push(client, phone, receiver.url)
    receiver.wait_for(1)
    assert client.query(accepted.checkout_request_id).state == "FAILED"
    assert len(simulator.moved_of(phone)) == 1


def test_after_the_end_a_query_may_know_nothing_for_once(client, receiver):
    accepted = push(client, a_phone("6605"), receiver.url)
    receiver.wait_for(1)
    states = {client.query(accepted.checkout_request_id).state for _ in range(2)}
    assert states == {"PAID", "PENDING"}


def test_a_query_about_nothing_is_pending(client):
    assert client.query("ws_CO_24112026145734992712345678").state == "PENDING"


def test_a_receiver_that_answers_500_hears_no_more(client, simulator, receiver):
    receiver.status = 500
    accepted = push(client, a_phone(), receiver.url)
    receiver.wait_for(1)
    time.sleep(0.5)
    assert len(receiver.heard) == 1
    (sent,) = simulator.get(f"pushes/{accepted.checkout_request_id}")["callbacks"]
    assert sent["status"] == 500


def test_retries_are_an_option(start_simulator, receiver):
    receiver.status = 500
    simulator = start_simulator("--speed", "100", "--callback-retries", "2")
    with a_client(simulator) as client:
        push(client, a_phone(), receiver.url)
    receiver.wait_for(3)


def test_callbacks_come_from_an_address_of_choice(start_simulator, receiver):
    simulator = start_simulator("--speed", "50", "--callback-address", "127.0.0.2")
    with a_client(simulator) as client:
        push(client, a_phone(), receiver.url)
    (heard,) = receiver.wait_for(1)
    assert heard.address == "127.0.0.2"


def test_a_dead_receiver_disturbs_nobody(client, simulator):
    phone = a_phone()
    accepted = push(client, phone, "http://127.0.0.1:9/nobody")
    wait_until(lambda: simulator.get(f"pushes/{accepted.checkout_request_id}")["callbacks"])
    (sent,) = simulator.get(f"pushes/{accepted.checkout_request_id}")["callbacks"]
    assert sent["status"] is None
    assert len(simulator.moved_of(phone)) == 1


def test_the_same_amount_within_two_minutes_is_refused_where_the_rule_is_on(start_simulator, receiver):
    simulator: Simulator = start_simulator("--speed", "100", "--same-amount-rule")
    phone = a_phone()
    with a_client(simulator) as client:
        for count, amount in enumerate((100, 100, 101), 1):
            push(client, phone, receiver.url, amount)
            receiver.wait_for(count)
    codes = [parse_stk_callback(row.body).result_code for row in receiver.heard]
    assert codes == ["0", "17", "0"]


def test_one_seed_is_one_course_of_events(start_simulator, post_office):
    def course(seed: str) -> list[object]:
        simulator = start_simulator("--speed", "100", "--seed", seed)
        seen: list[object] = []
        with a_client(simulator) as client:
            accepted = push(client, "+254712345678", f"{post_office[0]}/nobody")
            seen.append(accepted.merchant_request_id)
            seen.append(client._tokens.get())
        return seen

    assert course("one") == course("one") != course("two")


def test_the_scenarios_have_endings_of_their_own():
    endings = [row.ending for row in SCENARIOS.values()]
    assert len(endings) == len(set(endings))
    assert json.dumps(endings)


def test_the_document_lists_every_scenario(checkout):
    page = (checkout / "docs" / "mpesa-simulator.md").read_text()
    missing = [
        row.name for row in SCENARIOS.values() if f"`{row.name}`" not in page or row.ending not in page
    ]
    assert missing == []
