"""The five reports of an agency, or of one property or owner of it: rows from SQL, and what they add up to.

Past balances are by what is known today: what has been voided, credited or reversed by now is left out of the days it
belonged to, as on the dashboard. Owners' money is from the ledger, on the days it was posted.
"""

from __future__ import annotations

import datetime as dt
from calendar import monthrange
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from sqlalchemy.orm import Session

from haven.insight.reports.asking import Ask
from haven.insight.reports.document import Chart, Column, Document, Frame, Table, Value
from haven.insight.reports.money import NOUGHT, by_largest, money, per_cent, total, totals
from haven.insight.reports.statements import rows_of

Values = dict[str, Any]
_AGES: Final = (
    ("not_yet_due", "Current"),
    ("days_1_to_30", "1–30"),
    ("days_31_to_60", "31–60"),
    ("days_61_to_90", "61–90"),
    ("over_90_days", "Over 90"),
)
KNOWN_TODAY: Final = (
    "By what is known when the report is made: an invoice voided or credited, or a payment reversed since, is left out of"
    " the days it belonged to."
)
_PROPERTY: Final = Column("property", "Property")


def arrears(session: Session, ask: Ask, frame: Frame, values: Values) -> Document:
    """Who owes how much, by days past due at the end of ``frame.as_of``: one statement."""
    found = rows_of(session, "arrears", values)
    columns = [
        _PROPERTY, Column("unit", "Unit"), Column("tenant", "Tenant"), Column("phone", "Phone"),
        Column("oldest_due", "Oldest due", "date"),
        *money(*_AGES, ("arrears", "Arrears"), ("credit", "Credit")),
    ]  # fmt: skip
    rows = [tuple(getattr(row, column.key) for column in columns) for row in found]
    sums = {key: total(found, key) for key, _ in _AGES}
    late = total(found, "arrears")
    facts: list[tuple[Column, Value]] = [
        (Column("arrears", "Arrears", "money"), late),
        (Column("not_yet_due", "Not yet due", "money"), sums["not_yet_due"]),
        (Column("owed", "All open balances", "money"), late + sums["not_yet_due"]),
        (Column("credit", "Credit", "money"), total(found, "credit")),
        (Column("debtors", "Leases in arrears", "count"), sum(row.arrears > 0 for row in found)),
    ]
    chart = Chart(
        "Owed, by days past due", "bars", frame.currency,
        [label for _, label in _AGES], [("Owed", [sums[key] for key, _ in _AGES])],
    )  # fmt: skip
    notes = [
        "Arrears: open balances of issued invoices whose due date has passed, by allocations up to the end of the day."
        " Current is not yet due and no arrears. Credit is shown beside and netted into no column.",
        KNOWN_TODAY,
    ]
    tables = [Table("leases", "By lease", columns, rows, totals(columns, rows))]
    return Document(ask.kind, "Arrears ageing", "", frame, facts, tables, [chart], notes)


def rent_roll(session: Session, ask: Ask, frame: Frame, values: Values) -> Document:
    """Every unit with its tenant, term, rent and balance at the end of ``frame.as_of``: one statement."""
    found = rows_of(session, "rent_roll", values)
    now, past = [row for row in found if row.part == 1], [row for row in found if row.part == 2]
    columns = [
        _PROPERTY, Column("unit", "Unit"), Column("status", "Status"), Column("tenant", "Tenant"),
        Column("start_date", "From", "date"), Column("end_date", "Until", "date"),
        *money(("market_rent", "Market rent"), ("rent", "Rent"), ("deposit", "Deposit")),
        *money(("owed", "Owed"), ("arrears", "Of it arrears"), ("credit", "Credit")),
    ]  # fmt: skip
    rows = []
    seen: set[Any] = set()
    for row in now:
        # Two leases meet on a day of change: the unit's market rent counts once.
        market = row.market_rent if row.unit_id is None or row.unit_id not in seen else None
        seen.add(row.unit_id)
        rows.append(_roll_row(row, market, _status(row)))
    rows += [_roll_row(row, None, "Past lease") for row in past]
    lettable = [row for row in now if row.unit_status != "OUT_OF_SERVICE"]
    let = len({(row.property, row.unit, row.unit_id) for row in lettable if row.is_let})
    sums = totals(columns, rows)
    vacant = sum(not row.is_let for row in lettable)
    facts: list[tuple[Column, Value]] = [
        (Column("let", "Units let", "count"), let),
        (Column("vacant", "Units vacant", "count"), vacant),
        (Column("out_of_service", "Out of service", "count"), _out_of_service(now)),
        (Column("occupancy", "Physical occupancy", "percent"), per_cent(Decimal(let), Decimal(let + vacant))),
        (Column("rent", "Rent a month", "money"), sums["rent"]),
        (Column("owed", "Owed", "money"), sums["owed"]),
        (Column("owed_by_past_leases", "Of it by leases that are over", "money"), total(past, "owed")),
        (Column("arrears", "Arrears", "money"), sums["arrears"]),
        (Column("credit", "Credit", "money"), sums["credit"]),
    ]
    rents: dict[str, Decimal] = {}
    for row in now:
        rents[row.property] = rents.get(row.property, NOUGHT) + (row.rent or NOUGHT)
    labels, amounts = by_largest(rents.items())
    chart = Chart("Rent a month, by property", "rows", frame.currency, labels, [("Rent", amounts)])
    notes = [
        "Every unit, with the lease in force on the day; then leases that are over and still owe or have credit, so that"
        " balances add up to the books. Owed: open balances of issued invoices, due or not.",
        KNOWN_TODAY,
    ]
    tables = [Table("units", "By unit", columns, rows, sums)]
    return Document(ask.kind, "Rent roll", "", frame, facts, tables, [chart], notes)


def _roll_row(row: Any, market_rent: Decimal | None, status: str) -> tuple[Value, ...]:
    return (
        row.property, row.unit, status, row.tenant, row.start_date, row.end_date, market_rent, row.rent,
        row.deposit, row.owed, row.arrears, row.credit,
    )  # fmt: skip


def _status(row: Any) -> str:
    if row.unit_status == "OUT_OF_SERVICE":
        return "Out of service"
    return "Let" if row.is_let else "Vacant"


def _out_of_service(rows: list[Any]) -> int:
    return len({(row.property, row.unit) for row in rows if row.unit_status == "OUT_OF_SERVICE"})


def collections(session: Session, ask: Ask, frame: Frame, values: Values) -> Document:
    """What was received, how, when and for which property, and how much of what was due: three statements."""
    found = rows_of(session, "received", values)
    good = [row for row in found if row.status == "COMPLETED" and not row.is_deposit]
    days = {row.day: row for row in good if row.part == 3}
    methods = [row for row in good if row.part == 5]
    due = rows_of(session, "due", values)
    (speed,) = rows_of(session, "speed", values)
    collected, demanded, invoiced = total(methods, "amount"), total(due, "demanded"), total(due, "invoiced")
    paid = total(due, "paid")
    reversals = [row for row in found if row.part == 5 and row.status == "REVERSED" and not row.is_deposit]
    deposits = [row for row in found if row.part == 5 and row.status == "COMPLETED" and row.is_deposit]
    is_all = not ask.filters
    facts: list[tuple[Column, Value]] = [
        (Column("collected", "Collected", "money"), collected),
        (Column("payments", "Payments", "count"), sum(row.count for row in methods)),
        (Column("due", "Invoices due in the period", "money"), demanded),
        (Column("due_and_paid", "Of them paid by its end", "money"), paid),
        (Column("collection_rate", "Collection rate", "percent"), per_cent(paid, demanded)),
        (Column("invoiced", "Invoiced", "money"), invoiced),
        (Column("collected_to_invoiced", "Collected of invoiced", "percent"), per_cent(collected, invoiced)),
        (Column("days_to_collect", "Days to collect", "days"), _mean(speed.shilling_days, speed.allocated)),
        (Column("deposits_used", "Deposits used for arrears", "money"), total(deposits, "amount")),
        (Column("reversed", "Received and since reversed", "money"), total(reversals, "amount")),
    ]
    if is_all:
        facts.append((Column("suspense", "Waiting in suspense", "money"), NOUGHT + speed.suspense))
    by_day = _each_day(days, values["first"], frame.as_of)
    day_columns = [
        Column("day", "Day", "date"),
        Column("payments", "Payments", "count"),
        *money(("amount", "Amount")),
    ]
    method_columns = [Column("method", "Method"), *day_columns[1:]]
    by_method: list[tuple[Value, ...]] = [(row.method, row.count, row.amount) for row in methods]
    place_columns = [
        _PROPERTY, Column("payments", "Payments", "count"),
        *money(("collected", "Collected"), ("invoiced", "Invoiced"), ("due", "Due"), ("due_and_paid", "Of it paid")),
        Column("collection_rate", "Rate", "percent"),
    ]  # fmt: skip
    received = {row.property_id: row for row in good if row.part == 6}
    by_place: list[tuple[Value, ...]] = []
    for row in due:
        mine = received.get(row.property_id)
        count, amount = (mine.count, mine.amount) if mine else (0, NOUGHT)
        rate = per_cent(row.paid, row.demanded)
        by_place.append((row.property, count, amount, row.invoiced, row.demanded, row.paid, rate))
    place_totals = totals(place_columns, by_place) | {"collection_rate": per_cent(paid, demanded)}
    tables = [
        Table("methods", "By method", method_columns, by_method, totals(method_columns, by_method)),
        Table("properties", "By property", place_columns, by_place, place_totals),
        Table("days", "By day", day_columns, by_day, totals(day_columns, by_day)),
    ]
    chart = _daily(by_day, frame.currency)
    notes = [
        "Collected: completed payments by the day they were paid, without those reversed since and without deposits used"
        " (no new money). Collection rate: of the invoices due in the period, what was paid by its end, by the day of"
        " allocation. Collected of invoiced mixes periods. Days to collect: from due date to allocation, weighted by amount.",
        KNOWN_TODAY,
    ]
    return Document(ask.kind, "Collections", "", frame, facts, tables, [chart], notes)


def _each_day(days: dict[dt.date, Any], first: dt.date, last: dt.date) -> list[tuple[Value, ...]]:
    found: list[tuple[Value, ...]] = []
    for number in range((last - first).days + 1):
        day = first + dt.timedelta(days=number)
        row = days.get(day)
        found.append((day, row.count, row.amount) if row else (day, 0, NOUGHT))
    return found


def _daily(by_day: list[tuple[Any, ...]], unit: str) -> Chart:
    """A point for each day; for each month where the days are more than three months."""
    if len(by_day) <= 93:
        return Chart(
            "Collected, by day", "lines", unit, [f"{day:%-d %b}" for day, *_ in by_day],
            [("Collected", [amount for *_, amount in by_day])],
        )  # fmt: skip
    months: dict[str, Decimal] = {}
    for day, _, amount in by_day:
        months[f"{day:%b %Y}"] = months.get(f"{day:%b %Y}", NOUGHT) + amount
    return Chart("Collected, by month", "bars", unit, list(months), [("Collected", list(months.values()))])


def _mean(weighted: Decimal, weight: Decimal) -> float | None:
    return float((weighted / weight).quantize(Decimal("0.1"), ROUND_HALF_UP)) if weight else None


def occupancy(session: Session, ask: Ask, frame: Frame, values: Values) -> Document:
    """How much of what can be let is let, in days and in money, over the whole period: one statement."""
    found = rows_of(session, "occupancy", values | _months(ask))
    columns = [
        Column("unit_days", "Lettable unit-days", "count"), Column("let_days", "Let", "count"),
        Column("physical", "Physical", "percent"),
        *money(("potential", "Potential rent"), ("charged", "Rent charged"), ("vacancy_loss", "Vacancy loss")),
        Column("economic", "Economic", "percent"),
    ]  # fmt: skip
    by_month: dict[dt.date, list[Any]] = {}
    by_place: dict[Any, list[Any]] = {}
    for row in found:
        by_month.setdefault(row.first_day, []).append(row)
        by_place.setdefault((row.property, row.property_id), []).append(row)
    month_rows = [(f"{day:%B %Y}", *_occupied(rows)) for day, rows in sorted(by_month.items())]
    place_rows = [(key[0], *_occupied(rows)) for key, rows in by_place.items()]
    sums = dict(zip([column.key for column in columns], _occupied(list(found)), strict=True))
    facts = [(column, sums[column.key]) for column in columns]

    def shares(column: str) -> list[float]:
        place = 1 + [one.key for one in columns].index(column)
        return [value if isinstance(value := row[place], float) else 0.0 for row in month_rows]

    chart = Chart(
        "Occupancy, by month", "bars", "%", [f"{day:%b %Y}" for day in sorted(by_month)],
        [("Physical", shares("physical")), ("Economic", shares("economic"))],
    )  # fmt: skip
    tables = [
        Table("months", "By month", [Column("month", "Month"), *columns], month_rows, sums),
        Table("properties", "By property", [_PROPERTY, *columns], place_rows, sums),
    ]
    notes = [
        "Physical: unit-days under a lease of unit-days that could be let. Economic: rent charged for the period (an invoice"
        " counts by the days of it that are in the month, less rent credited) of the market rent of every unit that can be"
        " let. Vacancy loss: market rent by vacant days of the days in the month.",
        "Units out of service today and today's market rents are taken for the whole period; days to come are by leases as"
        " they stand.",
    ]
    return Document(ask.kind, "Occupancy", "", frame, facts, tables, [chart], notes)


def _months(ask: Ask) -> Values:
    """Each month's part of the period, and how long the whole month is."""
    first_days, last_days, lengths = [], [], []
    day = ask.first
    while day <= ask.last:
        length = monthrange(day.year, day.month)[1]
        last = min(day.replace(day=length), ask.last)
        first_days.append(day)
        last_days.append(last)
        lengths.append(length)
        day = last + dt.timedelta(days=1)
    return {"months": first_days, "last_days": last_days, "lengths": lengths}


def _occupied(rows: list[Any]) -> tuple[Value, ...]:
    unit_days, let_days = int(sum(row.unit_days for row in rows)), int(sum(row.let_days for row in rows))
    potential, charged = total(rows, "potential"), total(rows, "charged")
    physical = per_cent(Decimal(let_days), Decimal(unit_days))
    return (
        unit_days,
        let_days,
        physical,
        potential,
        charged,
        total(rows, "vacancy_loss"),
        per_cent(charged, potential),
    )


_FINANCIAL: Final = (
    ("opening", "Owed before"), ("invoiced", "Invoiced"), ("collected", "Collected"),
    ("deposits_used", "Deposits used"), ("credits_used", "Credit used"), ("closing", "Owed after"),
    ("closing_arrears", "Of it arrears"),
)  # fmt: skip
_INCOME: Final = (
    ("rent", "Rent"), ("utility", "Utilities"), ("late_fee", "Late fees"), ("other", "Other"),
    ("deposit", "Deposits"), ("invoiced", "Invoiced"), ("for_owner", "For owner"), ("fee", "Fee"), ("net", "Net to owner"),
)  # fmt: skip


def financial(session: Session, ask: Ask, frame: Frame, values: Values) -> Document:
    """What was owed, invoiced and collected, and what of it is the owners': two statements."""
    found = rows_of(session, "financial", values)
    columns = [_PROPERTY, *money(*_FINANCIAL)]
    rows = [(row.property, *(getattr(row, key) for key, _ in _FINANCIAL)) for row in found]
    income_columns = [_PROPERTY, *money(*_INCOME)]
    income = [(row.property, *(getattr(row, key) for key, _ in _INCOME)) for row in found]
    tables = [Table("properties", "By property", columns, rows, totals(columns, rows))]
    facts: list[tuple[Column, Value]] = [
        (column, totals(columns, rows)[column.key]) for column in columns[1:]
    ]
    extra = (
        ("opening_arrears", "Arrears before"),
        ("opening_credit", "Credit before"),
        ("closing_credit", "Credit after"),
    )
    facts += [(Column(key, label, "money"), total(found, key)) for key, label in extra]
    owners, more = _owners(session, values) if "property_id" not in ask.filters else (None, [])
    if owners is not None:
        income += _not_by_property(owners, income_columns, income)
    title = "Invoiced, and collected for owners"
    tables.append(Table("income", title, income_columns, income, totals(income_columns, income)))
    tables += [owners] if owners is not None else []
    facts += more
    top = sorted(found, key=lambda row: (-row.invoiced, row.property))[:8]
    chart = Chart(
        "Invoiced and collected, by property" + (" (the largest)" if len(found) > 8 else ""), "rows", frame.currency,
        [row.property for row in top],
        [("Invoiced", [row.invoiced for row in top]), ("Collected", [row.collected for row in top])],
    )  # fmt: skip
    notes = [
        "Owed before + invoiced − collected − deposits used − credit used = owed after. Owed: open balances of issued"
        " invoices, due or not; arrears is its part past due. Credit used: credit before less credit after.",
        "What is collected for owners, the fee, expenses and payouts are from the ledger, on the days they were posted;"
        " a shilling pays an invoice's rent first, its deposits last. NOI is what was collected for owners less expenses.",
        KNOWN_TODAY,
    ]
    return Document(ask.kind, "Financial summary", "", frame, facts, tables, [chart], notes)


def _not_by_property(
    owners: Table, columns: list[Column], income: list[tuple[Value, ...]]
) -> list[tuple[Value, ...]]:
    """A row for what the ledger posted for owners and names no property of the report for: a monthly posting, a sale."""
    sums = totals(columns, income)
    rest: dict[str, Decimal] = {}
    for key, of_owner in (("for_owner", "collected"), ("fee", "fee")):
        whole, part = owners.totals[of_owner], sums[key]
        assert isinstance(whole, Decimal)
        assert isinstance(part, Decimal)
        rest[key] = whole - part
    if not any(rest.values()):
        return []
    rest["net"] = rest["for_owner"] - rest["fee"]
    return [("Not by property", *(rest.get(column.key, NOUGHT) for column in columns[1:]))]


def _owners(session: Session, values: Values) -> tuple[Table, list[tuple[Column, Value]]]:
    found = rows_of(session, "owners", values)
    columns = [
        Column("owner", "Owner"),
        *money(("collected", "Collected"), ("fee", "Fee"), ("expenses", "Expenses"), ("net", "Net"), ("payouts", "Paid out")),
    ]  # fmt: skip
    rows: list[tuple[Value, ...]] = [
        (row.owner, row.collected, row.fee, row.expenses, row.collected - row.fee - row.expenses, row.payouts)
        for row in found
    ]
    sums = totals(columns, rows)
    collected, expenses = total(found, "collected"), total(found, "expenses")
    facts: list[tuple[Column, Value]] = [
        (Column("fee", "Management fee", "money"), sums["fee"]),
        (Column("noi", "Net operating income", "money"), collected - expenses),
        (Column("net_to_owners", "Net to owners", "money"), sums["net"]),
    ]
    return Table("owners", "By owner", columns, rows, sums), facts
