"""Who is to be told what: written down in the transaction of the event itself, once, in the words it is sent in."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Final

import orjson
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from haven.db.base import new_id
from haven.db.session import tenant_of
from haven.db.statements import Statement
from haven.identity.models import Agency
from haven.notifications.models import Notification
from haven.notifications.texts import compose, compose_mail
from haven.operations.jobs import submit
from haven.operations.webhooks import WANTED_BY, send_to

SEND: Final = "notification_send"

# One statement finds who is to be told and in which language, puts the names into the words, and leaves out who has been
# told or does not want to be. It goes from row to row by their keys and joins nothing: as a join, on tables that had not
# been analysed yet, it read every lease of the agency for every tenant (1,960 blocks at 150 leases).
_WORDS: Final = """
    WITH let AS MATERIALIZED (
      SELECT unit_id FROM lease WHERE agency_id = :agency_id AND id = :lease_id
    ), home AS MATERIALIZED (
      SELECT label, property_id FROM unit WHERE agency_id = :agency_id AND id = (SELECT unit_id FROM let)
    ), firm AS MATERIALIZED (
      SELECT name, language FROM agency WHERE id = :agency_id
    ), about AS MATERIALIZED (
      SELECT full_name AS tenant, lower(email) AS email, phone, opt_outs,
             coalesce(language, (SELECT language FROM firm)) AS language,
             (SELECT name FROM firm) AS agency,
             (SELECT name FROM property
               WHERE agency_id = :agency_id AND id = (SELECT property_id FROM home)) AS property,
             (SELECT label FROM home) AS unit
        FROM tenant WHERE agency_id = :agency_id AND id = :tenant_id
    ), told AS (
      SELECT 'EMAIL' AS channel, email AS recipient, language, 'tenant_subject' AS subject, 'tenant_body' AS body
        FROM about WHERE email > '' AND NOT opt_outs && ARRAY['EMAIL', 'EMAIL:' || :kind]
       UNION ALL
      SELECT 'SMS', phone, language, '', 'tenant_sms'
        FROM about WHERE phone > '' AND NOT opt_outs && ARRAY['SMS', 'SMS:' || :kind]
       UNION ALL
      (SELECT 'EMAIL', lower(email), (SELECT language FROM firm), 'agency_subject', 'agency_body' FROM user_account
        WHERE :tell_agency AND agency_id = :agency_id AND role = 'AGENCY_ADMIN' AND status = 'ACTIVE'
        ORDER BY id LIMIT 20)
    ), said AS (
      SELECT channel, recipient, language, body <> 'agency_body' AS is_tenant,
             coalesce(CAST(:texts AS jsonb) -> language ->> subject, '') AS subject,
             CAST(:texts AS jsonb) -> language ->> body AS body
        FROM told
    )
    SELECT :agency_id, uuidv7(), :about_id, :occasion, CASE WHEN is_tenant THEN CAST(:tenant_id AS uuid) END, :kind,
           channel, recipient, said.language,
           replace(replace(replace(replace(subject, '{unit}', unit), '{property}', property),
                   '{agency}', agency), '{tenant}', tenant),
           replace(replace(replace(replace(body, '{unit}', unit), '{property}', property),
                   '{agency}', agency), '{tenant}', tenant)
      FROM said, about
"""
_INTO: Final = (
    "INSERT INTO notification (agency_id, id, about_id, occasion, tenant_id, kind, channel, recipient, language,"
    " subject, body) "
)
_ONCE: Final = " ON CONFLICT ON CONSTRAINT notification_once_key DO NOTHING RETURNING about_id"
QUEUE: Final = text(_INTO + _WORDS + _ONCE)
_ANNOUNCE: Final = Statement(
    f"WITH queued AS ({_INTO} {_WORDS} {_ONCE})"  # noqa: S608  nobody's text
    f" SELECT (SELECT count(*) FROM queued), ARRAY({WANTED_BY})"
)
_OF_EACH: Final = reduce(
    lambda words, name: words.replace(f":{name}", f"thing.{name}"),
    ("about_id", "lease_id", "tenant_id", "texts"),
    _WORDS,
)
_QUEUE_MANY: Final = text(
    f"{_INTO} SELECT words.* FROM jsonb_to_recordset(CAST(:things AS jsonb))"  # noqa: S608  nobody's text
    " AS thing(about_id uuid, lease_id uuid, tenant_id uuid, texts jsonb),"
    f" LATERAL ({_OF_EACH}) AS words {_ONCE}"
)
_SENT_TOGETHER: Final = 20
"""Things of which one job tells, where there are many: as many as it can in its time though the gateway is slow."""


def queue(
    session: Session, kind: str, about_id: uuid.UUID, facts: Mapping[str, Any], *, occasion: str = ""
) -> int:
    """Tell the tenant, and of payments the agency's administrators, once the caller's transaction commits: two statements.

    Args:
        kind: of each a person is told once about the same thing.
        about_id: the payment or invoice.
        facts: what is said of it, as the webhooks have it.
        occasion: tells apart what is told more than once, such as reminders.

    Returns:
        How many messages were queued.
    """
    values = values_of(session, kind, about_id, facts) | {"occasion": occasion}
    queued = len(session.execute(QUEUE, values).all())
    if queued:
        submit(session, SEND, {"about_id": str(about_id), "kind": kind, "occasion": occasion})
    return queued


def announce(session: Session, event: str, kind: str, about_id: uuid.UUID, facts: dict[str, Any]) -> None:
    """Tell webhooks of an ``event`` and people of the same thing (see ``queue``): one statement where nobody is to be told."""
    values = values_of(session, kind, about_id, facts) | {"event": event}
    queued, wanted_by = _ANNOUNCE.row(session, **values)
    send_to(session, wanted_by, event, [facts])
    if queued:
        submit(session, SEND, {"about_id": str(about_id), "kind": kind, "occasion": ""})


def queue_many(
    session: Session, kind: str, facts: Mapping[uuid.UUID, Mapping[str, Any]], *, occasion: str = ""
) -> int:
    """The same about many things, thing → facts: one statement, and one more for each job that sends."""
    things = [_of_thing(kind, about_id, one) for about_id, one in facts.items()]
    values = {
        "agency_id": tenant_of(session).agency_id,
        "occasion": occasion,
        "kind": kind,
        "tell_agency": kind.startswith("PAYMENT_"),
        "things": orjson.dumps(things, default=str).decode(),
    }
    queued = session.execute(_QUEUE_MANY, values).scalars().all()
    told = [str(one) for one in dict.fromkeys(queued)]
    for first in range(0, len(told), _SENT_TOGETHER):
        together = {"about_ids": told[first : first + _SENT_TOGETHER], "kind": kind, "occasion": occasion}
        submit(session, SEND, together)
    return len(queued)


def values_of(session: Session, kind: str, about_id: uuid.UUID, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the statement behind ``queue`` is given; arguments as there."""
    thing = _of_thing(kind, about_id, facts)
    return {
        "agency_id": tenant_of(session).agency_id,
        "occasion": "",
        "kind": kind,
        "tell_agency": kind.startswith("PAYMENT_"),
        **thing,
        "texts": json.dumps(thing["texts"]),
    }


def _of_thing(kind: str, about_id: uuid.UUID, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "about_id": about_id,
        "lease_id": uuid.UUID(facts["lease_id"]),
        "tenant_id": uuid.UUID(facts["tenant_id"]),
        "texts": compose(kind, facts),
    }


def queue_mail(
    session: Session,
    *,
    template: str,
    recipients: Sequence[str],
    values: Mapping[str, str],
    language: str | None = None,
    about_id: uuid.UUID | None = None,
) -> int:
    """Queue a mail for each recipient in the caller's transaction; a job sends them once it commits.

    Args:
        template: ``export_ready`` (values ``name rows size url expires_at``), ``report_ready`` (``title period url
            expires_at``), ``webhook_disabled`` (``url since error``), ``alert_firing`` or ``alert_resolved`` (those of
            ``haven.operations.alert_delivery``). Of files a ``url`` that is a path is put behind PUBLIC_URL when the mail
            is sent.
        language: ``en`` or ``sw``; the agency's when not given.
        about_id: the job, file or webhook it tells of: nobody is told of the same thing twice, however often the caller
            runs. When not given, every call tells anew.

    Returns:
        How many mails were queued.

    Raises:
        KeyError: a template, a language or a value that is not there.
    """
    agency_id = tenant_of(session).agency_id
    about_id = about_id or new_id()
    language = language or _language_of(session)
    subject, body = compose_mail(template, language, values)
    common = {"agency_id": agency_id, "about_id": about_id, "kind": template.upper(), "channel": "EMAIL"}
    rows = [
        {"id": new_id(), "recipient": one, "language": language, "subject": subject, "body": body, **common}
        for one in dict.fromkeys(address.strip().lower() for address in recipients)
    ]
    if not rows:
        return 0
    statement = insert(Notification).values(rows).on_conflict_do_nothing(constraint="notification_once_key")
    queued = len(session.execute(statement.returning(Notification.id)).all())
    if queued:
        submit(session, SEND, {"about_id": str(about_id), "kind": template.upper(), "occasion": ""})
    return queued


def _language_of(session: Session) -> str:
    found = session.execute(select(Agency.language).where(Agency.id == tenant_of(session).agency_id))
    return found.scalar_one_or_none() or "en"
