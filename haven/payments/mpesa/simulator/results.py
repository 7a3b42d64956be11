"""The bodies that tell what became of an instruction: paid out, taken back, found, or not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from haven.payments.mpesa.eat import EAT, stamp
from haven.payments.mpesa.receipts import receipt_prefix
from haven.payments.mpesa.simulator.world import Moved

_INTERNAL: Final = "https://internalsandbox.safaricom.co.ke/mpesa/{kind}results/v1/submit"
RESULT_WORDS: Final = {
    "0": "The service request is processed successfully.",
    "1": "The balance is insufficient for the transaction.",
    "2001": "The initiator information is invalid.",
    "2040": "Credit Party customer type (Unregistered or Registered Customer) can't be supported by the service.",
    "SFC_IC0003": "The operator does not exist.",
    "R000001": "The transaction has already been reversed.",
    "R000002": "The OriginalTransactionID is invalid.",
}


@dataclass(frozen=True, slots=True)
class Ids:
    """How one instruction is known: by the caller's name for it, and by M-Pesa's."""

    originator: str
    conversation: str


def paid_out(ids: Ids, paid: Moved) -> dict[str, Any]:
    """Money that went to a phone (B2C); its date is written in another way than all others."""
    parameters = {
        "TransactionAmount": paid.amount,
        "TransactionReceipt": paid.receipt,
        "ReceiverPartyPublicName": f"{paid.phone} - AMINA WANJIRU OTIENO",
        "TransactionCompletedDateTime": f"{paid.at.astimezone(EAT):%d.%m.%Y %H:%M:%S}",
        "B2CUtilityAccountAvailableFunds": 8_959_269.6,
        "B2CWorkingAccountAvailableFunds": 1_199_371.0,
        "B2CRecipientIsRegisteredCustomer": "Y",
        "B2CChargesPaidAccountAvailableFunds": -1980.0,
    }
    return _result(ids, "0", paid.receipt, "b2c", parameters)


def taken_back(ids: Ids, receipt: str, original: Moved, at: datetime) -> dict[str, Any]:
    """A payment that was reversed: the reversal has a receipt of its own."""
    parameters = {
        "DebitAccountBalance": "Utility Account|KES|7722179.62|7722179.62|0.00|0.00",
        "Amount": float(original.amount),
        "TransCompletedTime": int(stamp(at)),
        "OriginalTransactionID": original.receipt,
        "Charge": 0.0,
        "CreditPartyPublicName": f"{original.phone} - AMINA WANJIRU OTIENO",
        "DebitPartyPublicName": f"{original.shortcode} - Haven",
    }
    return _result(ids, "0", receipt, "reversal", parameters)


def found(ids: Ids, moved: Moved, *, is_reversed: bool) -> dict[str, Any]:
    """What a status query found. Some of its parameters have no value, as in the real one."""
    parameters = {
        "ReceiptNo": moved.receipt,
        "TransactionStatus": "Reversed" if is_reversed else "Completed",
        "Amount": float(moved.amount),
        "InitiatedTime": int(stamp(moved.at)),
        "FinalisedTime": int(stamp(moved.at)),
        "DebitPartyName": f"{moved.phone} - AMINA WANJIRU OTIENO",
        "CreditPartyName": f"{moved.shortcode} - Haven",
        "DebitPartyCharges": None,
    }
    return _result(ids, "0", moved.receipt, "transactionstatus", parameters)


def refused(ids: Ids, code: str, transaction_id: str, kind: str) -> dict[str, Any]:
    """An instruction that was not carried out: no parameters. Its TransactionID is that of no transaction."""
    return _result(ids, code, transaction_id, kind, None)


def no_transaction(at: datetime) -> str:
    """The TransactionID of what never came to be one: the day, and seven noughts."""
    return f"{receipt_prefix(at)}0000000"


def timed_out(ids: Ids, kind: str) -> dict[str, Any]:
    """What comes to the QueueTimeOutURL: nobody knows whether it was carried out. One parameter is a bare object."""
    body = _result(ids, "1037", "", kind, None)
    body["Result"]["ResultDesc"] = "The request timed out in the queue."
    body["Result"]["ResultParameters"] = {"ResultParameter": {"Key": "BOCompletedTime"}}
    return body


def dump(body: dict[str, Any]) -> bytes:
    """The body as it goes over the wire."""
    return json.dumps(body, separators=(",", ":")).encode()


def _result(
    ids: Ids, code: str, receipt: str, kind: str, parameters: dict[str, Any] | None
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ResultType": 0,
        # A number where it is one, else a text.
        "ResultCode": int(code) if code.isdigit() else code,
        "ResultDesc": RESULT_WORDS.get(code, "The service request failed."),
        "OriginatorConversationID": ids.originator,
        "ConversationID": ids.conversation,
        "TransactionID": receipt,
    }
    if parameters is not None:
        items = [
            {"Key": key} if value is None else {"Key": key, "Value": value}
            for key, value in parameters.items()
        ]
        result["ResultParameters"] = {"ResultParameter": items}
    item = {"Key": "QueueTimeoutURL", "Value": _INTERNAL.format(kind=kind)}
    # An object in most, a list in some (both are published).
    result["ReferenceData"] = {"ReferenceItem": [item] if kind == "transactionstatus" else item}
    return {"Result": result}
