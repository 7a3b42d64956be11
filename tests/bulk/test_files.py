"""CSV files as people have them are imported right, or refused with row and column."""

from __future__ import annotations

import uuid

import pytest

from haven.bulk.columns import ALIASES, fields_of, match
from haven.bulk.resources import BULK
from haven.errors import Invalid
from workers.runner import run_job

HEAD = "Tenant Name,Simu,E-mail,ID No\n"


def rows_of(by, path="/tenants"):
    rows = by.get(f"{path}?limit=200").get_json()["data"]
    return sorted(rows, key=lambda row: row["id"])


def errors_of(answer):
    assert answer.status_code == 422, answer.get_json()
    return [(one["row"], one["column"], one["detail"]) for one in answer.get_json()["errors"]]


@pytest.mark.parametrize(
    "data",
    [
        "Tenant Name,Simu\nŒuvre Mwangi,0712 345 678\n".encode("utf-8-sig"),
        "Tenant Name;Simu\r\nŒuvre Mwangi;0712345678\r\n".encode("cp1252"),
        "sep=;\nTenant Name;Simu\nŒuvre Mwangi;254712345678\n".encode(),
        "tenant_name\tSIMU\nŒuvre Mwangi\t+254712345678".encode(),
        "Tenant Name,Simu\nŒuvre Mwangi,0712-345-678\n".encode("utf-16"),
        "\n\nSimu,Names,,\n,,,\n'+254712345678,Œuvre Mwangi,,\n\n".encode(),
    ],
    ids="mark semicolons-1252 sep tabs utf16 empty-lines".split(),
)
def test_however_the_file_is_written_the_row_is_the_same(by, send, data):
    answer = send("tenants", data)
    assert answer.status_code == 200, answer.get_json()
    [tenant] = rows_of(by)
    assert (tenant["full_name"], tenant["phone"]) == ("Œuvre Mwangi", "+254712345678")


def test_a_quoted_line_break_and_a_formula_stay_text(by, send):
    data = 'Name,Notes\nAchieng,"two\nlines"\n"\'=SUM(A1)",=1+1\n'
    assert send("tenants", data).get_json()["succeeded"] == 2
    first, second = rows_of(by)
    assert first["notes"] == "two\nlines"
    assert (second["full_name"], second["notes"]) == ("=SUM(A1)", "=1+1")


def test_wrong_cells_are_named_by_row_and_column(by, send):
    data = HEAD + "Achieng,0712345678,,1\n\nOtieno,12,not mail,2\n,0712345679,,3\n"
    found = errors_of(send("tenants", data))
    assert {(row, column) for row, column, _ in found} == {(4, "Simu"), (4, "E-mail"), (5, "Tenant Name")}
    assert rows_of(by) == []


def test_a_refusal_counts_rows_in_plain_words(send):
    data = "Name,Phone\nAchieng,12\n"
    assert send("tenants", data).get_json()["detail"] == "1 of 1 row breaks a rule: nothing was changed."
    data += "Otieno,0712345678\n"
    assert send("tenants", data).get_json()["detail"] == "1 of 2 rows breaks a rule: nothing was changed."


def test_a_cell_of_a_megabyte_is_refused_where_it_is(send):
    data = f"Name,Notes\nAchieng,ok\nOtieno,{'x' * 1_000_000}\n"
    assert [one[:2] for one in errors_of(send("tenants", data))] == [(3, "Notes")]


def test_a_cell_without_a_header_is_refused_and_a_short_row_is_not(send):
    assert [one[:2] for one in errors_of(send("tenants", "Name,Notes\nAchieng,a,b\nOtieno\n"))] == [(2, "3")]
    assert send("tenants", "Name,Notes\nOtieno\n").status_code == 200


@pytest.mark.parametrize(
    "head, word",
    [
        ("Name,Phnoe", "did you mean phone"),
        ("Name,Tenant", "a second time"),
        ("id,Name", "update with PATCH"),
        (",".join(["Name", *(f"x{n}" for n in range(199))]), "200 columns"),
    ],
    ids="unknown twice id many".split(),
)
def test_headers_that_cannot_be_read_are_refused_with_a_word(send, head, word):
    answer = send("tenants", f"{head}\nAchieng\n")
    assert answer.status_code == 422
    assert word in answer.get_json()["detail"]


def test_a_header_is_refused_by_its_row_and_column(send):
    many = ",".join(["Name", *(f"x{n}" for n in range(199))])
    for head, row, column in (
        ("Name,Phnoe", 1, "Phnoe"),
        ("\n\nName,Tenant", 3, "Tenant"),
        ("Name,", None, None),
        (many, 1, "x99"),
    ):
        answer = send("tenants", f"{head}\nAchieng\n")
        if row is None:
            assert answer.status_code == 200
        else:
            assert errors_of(answer)[0][:2] == (row, column)


# Each of the files that people have, longer than is answered at once too: what is refused in it, by row and column.
GOOD = "Otieno,0712345678,ok\n"
FILES = {
    "mark": (f"Name,Phone,Notes\n{GOOD}".encode("utf-8-sig"), []),
    "semicolons": (b"Name;Phone;Notes\nAchieng, Mary;0712345678;a,b\nOtieno;12;x\n", [(3, "Phone")]),
    "windows-1252": ("Name,Phone,Notes\nZoë Ōtieno,0712345678,é€“”\n".replace("Ō", "Ö").encode("cp1252"), []),
    "line-breaks": (
        b'Name,Phone,Notes\nAchieng,0712345678,"one\r\ntwo, ""three""\n\nfour"\nOtieno,12,"a\nb"\n"A\nB",,\n',
        [(3, "Phone"), (4, "Name")],
    ),
    "200-columns": (f"Name,Phone,{','.join(f'c{n}' for n in range(198))}\n{GOOD}".encode(), [(1, "c98")]),
    "formula": (
        b"Name,Phone,Notes\n=cmd|' /C calc'!A0,0712345678,=1+1\nOtieno,=1+1,-2\n@SUM(A1),+254712345678,+x\n",
        [(3, "Phone")],
    ),
    "megabyte": (f"Name,Phone,Notes\n{GOOD}Achieng,,{'x' * 1_048_576}\n".encode(), [(3, "Notes")]),
    "open-quote": (f'Name,Phone,Notes\n{GOOD}"Achieng,0712345678,x\n{GOOD}'.encode(), [(3, "Name")]),
    # What may have several lines would take all that is behind it without a word.
    "open-quote-in-notes": (f'Name,Phone,Notes\n{GOOD}Achieng,0712345678,"x\n{GOOD}'.encode(), [(3, "Notes")]),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_right_or_refused_by_row_and_column(by, send, runtime, name):
    data, wrong = FILES[name]
    at_once = send("tenants", data, "?mode=partial")
    if name == "200-columns":
        assert [one[:2] for one in errors_of(at_once)] == wrong
        assert rows_of(by) == []
        return
    assert at_once.status_code == 200, at_once.get_json()
    assert [(one["row"], one["column"]) for one in at_once.get_json()["errors"]] == wrong
    texts = [(row["full_name"], row["notes"]) for row in rows_of(by)]
    if name == "line-breaks":
        assert texts == [("Achieng", 'one\r\ntwo, "three"\n\nfour')]
    if name == "formula":
        assert texts == [("=cmd|' /C calc'!A0", "=1+1"), ("@SUM(A1)", "+x")]
    if name == "windows-1252":
        assert texts == [("Zoë Ötieno", "é€“”")]
    # And behind 1,100 rows of the same, by a job.
    head, _, rest = data.partition(b"\n")
    delimiter = b";" if b";" in head else b","
    filler = delimiter.join([b"Filler", b"", b"x"]) + b"\n"
    answer = send("tenants", head + b"\n" + filler * 1100 + rest, "?mode=partial&dry_run=true")
    assert answer.status_code == 202, answer.get_json()
    job = answer.get_json()
    assert run_job(runtime, by.agency_id, uuid.UUID(job["id"])) == "SUCCEEDED"
    report = by.get(f"/jobs/{job['queue']}/{job['id']}").get_json()["result"]
    assert [(one["row"], one["column"]) for one in report["errors"]] == [(row + 1100, c) for row, c in wrong]


@pytest.mark.parametrize("form", ["text/csv", "application/x-ndjson"])
def test_a_line_without_an_end_is_refused_and_what_is_behind_it_is_not_read(send, form):
    head = b"Name,Notes\n" if form == "text/csv" else b""
    row = b"Achieng,x\n" if form == "text/csv" else b'{"full_name": "Achieng"}\n'
    data = head + row + b"y" * 4_200_000 + b"\n" + row
    answer = send("tenants", data, "?mode=partial", content_type=form).get_json()
    assert (answer["succeeded"], answer["failed"]) == (1, 1)
    [error] = answer["errors"]
    assert error["row"] == (3 if head else 2)
    assert "nothing behind it was read" in error["detail"]


def test_a_cell_without_an_end_is_refused_and_what_is_behind_it_is_not_read(send):
    data = b'Name,Notes\nAchieng,x\nOtieno,"' + b"Wanjiku,x\n" * 450_000
    answer = send("tenants", data, "?mode=partial").get_json()
    assert (answer["succeeded"], answer["failed"]) == (1, 1)
    [error] = answer["errors"]
    assert error["row"] == 3
    assert "nothing behind it was read" in error["detail"]


@pytest.mark.parametrize(
    "data", [b"", b"Name\n", b"\xff\xfe", b"Name\n\x81\x8d\n"], ids="empty head mark bytes".split()
)
def test_what_is_no_table_is_refused(send, data):
    assert send("tenants", data).status_code in (400, 422)


def test_money_dates_and_names_are_read_as_people_write_them(by, send):
    assert send("properties", "Building,Code,Type\nUmoja Heights,UH1,apartment\n").status_code == 200
    units = 'Property,House No,Rent,Deposit\nuh1,A1,"25,000.00",25 000\nUmoja Heights,A2,KES 18000/=,0\n'
    assert send("units", units).status_code == 200, send("units", units).get_json()
    assert [(one["label"], one["rent_amount"], one["deposit_amount"]) for one in rows_of(by, "/units")] == [
        ("A1", "25000.00", "25000.00"), ("A2", "18000.00", "0.00"),
    ]  # fmt: skip
    assert send("tenants", "Name,Phone\nAchieng,0712345678\n").status_code == 200
    leases = "Property,Unit,Tenant,Start,End,Late Fee Type,Late Fee\nUH1,A1,0712 345678,01/11/2026,2027-10-31,flat,500\n"
    assert send("leases", leases).status_code == 200, send("leases", leases).get_json()
    [lease] = rows_of(by, "/leases")
    assert (lease["start_date"], lease["end_date"]) == ("2026-11-01", "2027-10-31")
    assert lease["late_fee"] == {"kind": "FLAT", "amount": "500.00"}
    assert by.post(f"/leases/{lease['id']}/activate").status_code == 200
    paid = send("payments", "House No,Property,Amount,Method,Date,Ref\nA1,UH1,1000,cash,02/11/2026,Slip 7\n")
    assert paid.status_code == 200, paid.get_json()
    [payment] = rows_of(by, "/payments")
    assert (payment["lease_id"], payment["paid_at"]) == (lease["id"], "2026-11-01T21:00:00Z")
    assert payment["status"] == "COMPLETED"
    assert payment["receipt_number"]


def test_a_name_that_fits_none_or_two_is_refused_at_its_cell(by, send):
    assert send("tenants", "Name\nAchieng\nAchieng\n").status_code == 200
    send("properties", "Building,Code,Type\nUmoja,UH1,HOUSE\n")
    send("units", "Property,Unit,Rent\nUH1,A1,1\n")
    found = errors_of(send("leases", "Unit,Tenant,Start\nA1,Achieng,2026-11-01\nA9,Nobody,2026-11-01\n"))
    assert {(row, column) for row, column, _ in found} == {(2, "Tenant"), (3, "Tenant"), (3, "Unit")}


def test_our_own_list_of_columns_comes_back_in(by, send):
    by.made("/tenants", full_name="Achieng", language="sw", opt_outs=["SMS"])
    [row] = rows_of(by)
    head = ",".join(row)
    cells = ",".join(
        "" if value is None else str(value) for value in (row | {"full_name": "Atieno"}).values()
    )
    answer = send("tenants", f"{head}\n{cells}\n", method="PATCH")
    assert answer.status_code == 200, answer.get_json()
    assert rows_of(by)[0]["full_name"] == "Atieno"


@pytest.mark.parametrize("name", BULK)
def test_every_alias_names_one_field_and_the_page_lists_it(checkout, name):
    page = (checkout / "docs/bulk.md").read_text()
    for field, aliases in ALIASES[name].items():
        assert field in fields_of(BULK[name], "CREATE")
        assert f"| `{field}` | {aliases} |" in page
        for alias in aliases.split(","):
            assert match(BULK[name], "CREATE", [alias.upper()]) == [field]


def test_no_alias_stands_for_two_fields():
    for name, fields in ALIASES.items():
        spelled = [
            alias.strip().replace(" ", "") for aliases in fields.values() for alias in aliases.split(",")
        ]
        assert len(spelled) == len(set(spelled)), name
        with pytest.raises(Invalid):
            match(BULK[name], "CREATE", ["nothing of the kind"])
