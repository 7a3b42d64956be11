"""The callbacks themselves, sent over connections that stay open, by as little work as can be."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Final

AGENCIES: Final = 16


def numbered(kind: int, n: int) -> str:
    """The id of a row, as ``rows.sql`` gives it."""
    return f"{kind:08x}-0000-7000-8000-{n:012x}"


def request(n: int) -> bytes:
    """The callback of push ``n``: paid."""
    token = numbered(1, n % AGENCIES).replace("-", "") + f"{n:064x}"
    items = {
        "Amount": 1000.0,
        "MpesaReceiptNumber": f"UKO{n:07}",
        "TransactionDate": 20261124101530,
        "PhoneNumber": 254700000000 + n,
    }
    callback = {
        "MerchantRequestID": f"m-{n}",
        "CheckoutRequestID": f"ws_CO_{n}",
        "ResultCode": 0,
        "ResultDesc": "The service request is processed successfully.",
        "CallbackMetadata": {"Item": [{"Name": name, "Value": value} for name, value in items.items()]},
    }
    body = json.dumps({"Body": {"stkCallback": callback}}).encode()
    head = (
        f"POST /api/v1/hooks/stk/{token} HTTP/1.1\r\nHost: haven\r\nContent-Type: application/json;charset=UTF-8\r\n"
        f"Businessshortcode: 174379\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def send_all(port: int, base: int, clients: int, each: int) -> float:
    """Send ``each`` callbacks over each of ``clients`` connections, push ``base`` first; the seconds it took.

    Raises:
        RuntimeError: one was not answered with 200.
    """
    plans = [[request(base + client + clients * i) for i in range(each)] for client in range(clients)]
    gate = threading.Barrier(clients + 1)
    faults: list[str] = []
    threads = [threading.Thread(target=_send, args=(port, plan, gate, faults)) for plan in plans]
    for thread in threads:
        thread.start()
    gate.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    took_s = time.perf_counter() - began
    if faults:
        raise RuntimeError(f"{len(faults)} callbacks were not taken; the first: {faults[0]}")
    return took_s


def _send(port: int, plan: list[bytes], gate: threading.Barrier, faults: list[str]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        gate.wait()
        for one in plan:
            connection.sendall(one)
            answer = _answer(connection)
            if not answer.startswith(b"HTTP/1.1 200"):
                faults.append(answer.decode("latin-1"))
                return


def _answer(connection: socket.socket) -> bytes:
    """An answer, to the end of its short JSON body."""
    answer = b""
    while not answer.endswith(b"}"):
        part = connection.recv(4096)
        if not part:
            break
        answer += part
    return answer
