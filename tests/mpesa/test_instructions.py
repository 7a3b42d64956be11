"""The simulator's payouts, reversals and status queries: acknowledged, and told of later."""

import itertools
import json

import pytest

from tests.mpesa.conftest import a_phone, wait_until
from tests.mpesa.test_simulator import a_merchant, a_token, call

_numbers = itertools.count(1)
SHORTCODE = "600301"
B2C = "/mpesa/b2c/v3/paymentrequest"
REVERSAL = "/mpesa/reversal/v1/request"
STATUS = "/mpesa/transactionstatus/v1/query"


@pytest.fixture(scope="module")
def token(simulator):
    return a_token(simulator, a_merchant(simulator, SHORTCODE))


def common(receiver, **more):
    urls = {"ResultURL": f"{receiver.url}/result", "QueueTimeOutURL": f"{receiver.url}/timeout"}
    return {"SecurityCredential": "c2VjcmV0", "Remarks": "Deposit"} | urls | more


def a_payout(receiver, ending="", **changes):
    payout = {
        "OriginatorConversationID": f"haven-{next(_numbers)}",
        "InitiatorName": "haven",
        "CommandID": "BusinessPayment",
        "Amount": "700",
        "PartyA": SHORTCODE,
        "PartyB": a_phone(ending or "5555").removeprefix("+"),
        "Occassion": "",
    }
    return common(receiver, **payout) | changes


def a_reversal(receiver, receipt, amount=900, **changes):
    reversal = {
        "Initiator": "haven",
        "CommandID": "TransactionReversal",
        "TransactionID": receipt,
        "Amount": str(amount),
        "ReceiverParty": SHORTCODE,
        "RecieverIdentifierType": "11",
    }
    return common(receiver, **reversal) | changes


def a_question(receiver, receipt, **changes):
    question = {
        "Initiator": "haven",
        "CommandID": "TransactionStatusQuery",
        "TransactionID": receipt,
        "PartyA": SHORTCODE,
        "IdentifierType": "4",
    }
    return common(receiver, **question) | changes


def a_payment(simulator, ending="5555"):
    """The receipt of 900 shillings that came by paybill."""
    phone = a_phone(ending)
    made = simulator.post("payments", phone=phone, amount=900, account="A1", shortcode=SHORTCODE)
    wait_until(lambda: simulator.moved_of(phone))
    return made.json()["receipt"]


def results_of(receiver, count=1):
    return [
        (heard.path.rpartition("/")[2], json.loads(heard.body)["Result"])
        for heard in receiver.wait_for(count)
    ]


def parameters(result):
    items = result["ResultParameters"]["ResultParameter"]
    return {item["Key"]: item.get("Value") for item in items}


def test_a_payout_is_acknowledged_and_its_result_comes_later(simulator, token, receiver):
    payout = a_payout(receiver)
    said = call(simulator, B2C, token, payout).json()
    assert said["ResponseCode"] == "0"
    assert said["OriginatorConversationID"] == payout["OriginatorConversationID"]

    ((path, result),) = results_of(receiver)

    assert path == "result"
    assert (result["ResultCode"], result["ConversationID"]) == (0, said["ConversationID"])
    assert parameters(result)["TransactionAmount"] == 700
    assert parameters(result)["TransactionReceipt"] == result["TransactionID"]
    paid = [row for row in simulator.get("state")["paid_out"] if row["phone"] == payout["PartyB"]]
    assert [(row["amount"], row["receipt"]) for row in paid] == [(700, result["TransactionID"])]


def test_the_same_instruction_is_taken_once(simulator, token, receiver):
    payout = a_payout(receiver)
    assert call(simulator, B2C, token, payout).status_code == 200
    again = call(simulator, B2C, token, payout)
    assert (again.status_code, again.json()["errorCode"]) == (500, "500.002.1001")
    assert again.json()["errorMessage"] == "Duplicate OriginatorConversationID."
    results_of(receiver)
    assert sum(row["phone"] == payout["PartyB"] for row in simulator.get("state")["paid_out"]) == 1


@pytest.mark.parametrize(
    "ending, code", [("0001", 1), ("2001", 2001), ("2040", 2040), ("3003", "SFC_IC0003")]
)
def test_a_payout_that_is_refused_has_no_parameters(simulator, token, receiver, ending, code):
    call(simulator, B2C, token, a_payout(receiver, ending))
    ((_, result),) = results_of(receiver)
    assert result["ResultCode"] == code
    assert "ResultParameters" not in result


@pytest.mark.parametrize("ending, is_done", [("9001", False), ("9002", True)])
def test_a_queue_that_times_out_does_not_say_whether_it_was_done(simulator, token, receiver, ending, is_done):
    payout = a_payout(receiver, ending)
    call(simulator, B2C, token, payout)
    ((path, result),) = results_of(receiver)
    assert path == "timeout"
    assert isinstance(result["ResultParameters"]["ResultParameter"], dict)
    paid = [row for row in simulator.get("state")["paid_out"] if row["phone"] == payout["PartyB"]]
    assert bool(paid) == is_done


def test_a_result_may_come_twice(simulator, token, receiver):
    call(simulator, B2C, token, a_payout(receiver, "9003"))
    first, second = results_of(receiver, 2)
    assert first == second


def test_a_payment_is_taken_back_once(simulator, token, receiver):
    receipt = a_payment(simulator)
    for _ in range(2):
        assert call(simulator, REVERSAL, token, a_reversal(receiver, receipt)).json()["ResponseCode"] == "0"
    results = [result for _, result in results_of(receiver, 2)]
    done, again = sorted(results, key=lambda result: str(result["ResultCode"]))
    assert parameters(done)["OriginalTransactionID"] == receipt
    assert done["TransactionID"] not in {receipt, ""}
    assert again["ResultCode"] == "R000001"
    assert again["TransactionID"].endswith("0000000")
    assert simulator.get("state")["taken_back"][receipt] == done["TransactionID"]


@pytest.mark.parametrize("amount, receipt", [(1, None), (900, "UKO1ABCDEF")])
def test_what_was_never_paid_is_not_taken_back(simulator, token, receiver, amount, receipt):
    receipt = receipt or a_payment(simulator)
    call(simulator, REVERSAL, token, a_reversal(receiver, receipt, amount))
    ((_, result),) = results_of(receiver)
    assert result["ResultCode"] == "R000002"


def test_a_status_query_tells_of_a_receipt_and_of_its_reversal(simulator, token, receiver):
    receipt = a_payment(simulator)
    call(simulator, STATUS, token, a_question(receiver, receipt))
    ((_, result),) = results_of(receiver)
    assert parameters(result)["TransactionStatus"] == "Completed"
    assert parameters(result)["Amount"] == 900.0
    assert parameters(result)["DebitPartyCharges"] is None
    assert isinstance(result["ReferenceData"]["ReferenceItem"], list)
    call(simulator, REVERSAL, token, a_reversal(receiver, receipt))
    receiver.wait_for(2)
    call(simulator, STATUS, token, a_question(receiver, receipt))
    assert parameters(results_of(receiver, 3)[-1][1])["TransactionStatus"] == "Reversed"


def test_a_status_query_may_time_out(simulator, token, receiver):
    receipt = a_payment(simulator, "9001")
    call(simulator, STATUS, token, a_question(receiver, receipt))
    assert results_of(receiver)[0][0] == "timeout"


@pytest.mark.parametrize(
    "path, make, field, value",
    [
        (B2C, a_payout, "InitiatorName", ""),
        (B2C, a_payout, "SecurityCredential", ""),
        (B2C, a_payout, "CommandID", "Pay"),
        (B2C, a_payout, "Amount", "1.5"),
        (B2C, a_payout, "PartyA", "1"),
        (B2C, a_payout, "PartyB", "0712345678"),
        (B2C, a_payout, "Remarks", "x"),
        (B2C, a_payout, "ResultURL", "nowhere"),
        (B2C, a_payout, "QueueTimeOutURL", ""),
        (REVERSAL, lambda receiver: a_reversal(receiver, "UKO1ABCDEF"), "RecieverIdentifierType", "4"),
        (REVERSAL, lambda receiver: a_reversal(receiver, "UKO1ABCDEF"), "TransactionID", "x"),
        (STATUS, lambda receiver: a_question(receiver, "UKO1ABCDEF"), "IdentifierType", "1"),
    ],
)
def test_a_wrong_field_is_named(simulator, token, receiver, path, make, field, value):
    answer = call(simulator, path, token, make(receiver) | {field: value})
    assert answer.status_code == 400
    assert answer.json()["errorMessage"] == f"Bad Request - Invalid {field}"
