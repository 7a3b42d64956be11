"""The headers that people write over the columns of a CSV file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Final

from haven.bulk.faults import RowFault
from haven.bulk.resources import Bulk
from haven.errors import Invalid

COLUMNS_MOST: Final = 100
OPERATION_COLUMNS: Final = {"CREATE": (), "UPDATE": ("id", "version"), "DELETE": ("id", "version")}

ALIASES: Final[dict[str, dict[str, str]]] = {
    "properties": {
        "name": "property, property name, building, estate, jina",
        "code": "property code, short code",
        "kind": "type, property type",
        "address": "street, street address",
        "location": "area, town, estate area",
        "latitude": "lat",
        "longitude": "lng, long, lon",
        "owner_id": "owner, owner name, landlord, landlord name",
    },
    "units": {
        "property_id": "property, property code, property name, building, estate",
        "label": "unit, unit no, unit number, house, house no, house number, door, shop no, nyumba",
        "bedrooms": "beds, bedroom, no of bedrooms",
        "rent_amount": "rent, monthly rent, kodi",
        "deposit_amount": "deposit",
        "payment_reference": "account, account no, account number, paybill account, mpesa account, reference",
    },
    "tenants": {
        "full_name": "name, tenant, tenant name, names, jina",
        "email": "e-mail, email address, mail, barua pepe",
        "phone": "phone no, phone number, mobile, mobile no, mobile number, telephone, tel, cell, simu",
        "national_id": "id no, id number, national id no, national id number, kitambulisho",
        "notes": "note, comment, comments, remarks",
    },
    "leases": {
        "property": "property code, property name, building, estate",
        "unit_id": "unit, unit no, unit number, house, house no, house number, nyumba",
        "tenant_id": "tenant, tenant name, name, tenant phone, phone, phone number, simu",
        "start_date": "start, from, move in, move in date, lease start",
        "end_date": "end, to, until, lease end",
        "rent_amount": "rent, monthly rent, kodi",
        "deposit_amount": "deposit",
        "billing_day": "due day, rent day",
        "grace_days": "grace",
        "late_fee_kind": "late fee type",
        "late_fee_amount": "late fee",
    },
    "payments": {
        "property": "property code, property name, building, estate",
        "unit": "unit no, unit number, house, house no, house number, nyumba",
        "lease_id": "lease",
        "invoice_id": "invoice, invoice no, invoice number",
        "amount": "paid, amount paid, kiasi",
        "method": "payment method, paid by, mode, mode of payment",
        "paid_at": "date, date paid, payment date, paid on, tarehe",
        "reference": "ref, receipt, receipt no, mpesa code, mpesa receipt, transaction code, slip no, cheque no",
        "phone": "phone no, phone number, mobile, simu",
    },
}
"""Resource → field → other names for it, besides the field's own. Case, spaces and signs do not count."""

_HELPING: Final = {"leases": ("property",), "payments": ("property", "unit")}


def fields_of(bulk: Bulk, operation: str) -> tuple[str, ...]:
    """The fields that a CSV file may have for this operation, ``late_fee`` in two columns."""
    if operation == "DELETE":
        return OPERATION_COLUMNS[operation]
    schema = (bulk.body if operation == "CREATE" else bulk.patch)()
    names = [name for name in schema.fields if name != "late_fee"]
    if "late_fee" in schema.fields:
        names += ["late_fee_kind", "late_fee_amount"]
    return (*OPERATION_COLUMNS[operation], *names, *_HELPING.get(bulk.name, ()))


def match(bulk: Bulk, operation: str, headers: Sequence[str], row: int = 1) -> list[str | None]:
    """The field of each header; None for a column that is passed over, as its values are not for anybody to set.

    Args:
        row: the one that the headers are in.

    Raises:
        Invalid: a header is unknown, empty over a filled column, or there twice; each is named.
    """
    if len(headers) > COLUMNS_MOST:
        detail = f"The file has {len(headers)} columns; at most {COLUMNS_MOST} can be read."
        raise Invalid(detail, faults=(_fault(row, headers[COLUMNS_MOST], detail),))
    known = _known(bulk, operation)
    passed_over = {_folded(name) for name in bulk.row().fields} - {"id", *known}
    faults: list[RowFault] = []
    found: list[str | None] = []
    for place, header in enumerate(headers, start=1):
        key = _folded(header)
        name = known.get(key)
        if name is None and key and key not in passed_over:
            faults.append(_fault(row, header, _unknown(bulk, operation, key, known)))
        elif name is not None and name in found:
            faults.append(_fault(row, header, f"column {place} is {name} a second time"))
        found.append(name)
    if faults:
        first = faults[0]
        raise Invalid(f"Column “{first.column}”: {first.detail}.", faults=tuple(faults))
    if not any(found):
        raise Invalid("The first row must name the columns; none of its names is known.")
    return found


def _fault(row: int, header: str, detail: str) -> RowFault:
    column = header[:80]
    return RowFault(f"/{row}/{column}", detail, row, column)


def recognised(bulk: Bulk, operation: str, headers: Sequence[str]) -> int:
    """How many of the headers are known; tells which sign parts the columns."""
    known = _known(bulk, operation)
    return sum(_folded(header) in known for header in headers)


def _known(bulk: Bulk, operation: str) -> dict[str, str]:
    names = fields_of(bulk, operation)
    known = {
        _folded(alias): name
        for name, aliases in ALIASES[bulk.name].items()
        if name in names
        for alias in aliases.split(",")
    }
    return known | {_folded(name): name for name in names}


def _folded(header: str) -> str:
    return re.sub(r"[\W_]+", "", header.casefold())


def _unknown(bulk: Bulk, operation: str, key: str, known: dict[str, str]) -> str:
    if key == "id" and operation == "CREATE":
        return "ids are given by Haven: leave the column out, or update with PATCH"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    hint = (
        f"; did you mean {known[near[0]]}?"
        if near
        else f"; known are {', '.join(fields_of(bulk, operation))}"
    )
    return f"is not a column of {bulk.name}{hint}"
