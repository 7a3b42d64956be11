"""Settings: read, checked, explained."""

from __future__ import annotations

import pytest

from config import SettingsError, load_settings
from haven.settings_page import page

GOOD = {"DATABASE_URL": "postgresql://haven_app@127.0.0.1/haven", "SECRET_KEY": "k" * 32}


def test_what_is_not_given_has_its_default():
    settings = load_settings(GOOD)
    assert settings.db_pool_min == 5
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert settings.database_owner_url == GOOD["DATABASE_URL"]


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("PORT", "eighty", "PORT must be a whole number; found 'eighty'."),
        ("PORT", "70000", "PORT must be from 1 to 65535; found 70000."),
        ("ENABLE_JOB_QUEUE", "perhaps", "ENABLE_JOB_QUEUE must be true or false; found 'perhaps'."),
        ("DB_POOL_MAX", "2", "DB_POOL_MAX must not be under DB_POOL_MIN; found 2 and 5."),
        ("DB_POOL_TIMEOUT", "soon", "DB_POOL_TIMEOUT must be a number; found 'soon'."),
        ("SECRET_KEY", "short", "SECRET_KEY must have at least 32 characters"),
        ("DATABASE_URL", "mysql://x", "DATABASE_URL must start with postgresql://."),
        ("PUBLIC_URL", "haven.test", "PUBLIC_URL must start with http:// or https://."),
        ("SMTP_URL", "mail.test:25", "SMTP_URL must start with smtp:// or smtps://."),
        ("SMTP_URL", "smtp://mail.test", "MAIL_FROM must be an e-mail address"),
        ("MPESA_CALLBACK_SOURCES", "maybe", "MPESA_CALLBACK_SOURCES must be off, log or enforce"),
        (
            "ALERT_EMAILS",
            "zuri@makao.test,otieno",
            "ALERT_EMAILS must hold e-mail addresses; found 'otieno'.",
        ),
        ("ALERT_EMAILS", "zuri@makao.test", "SMTP_URL is missing: ALERT_EMAILS is set"),
        ("ALERT_WEBHOOK_URL", "makao.test/alerts", "ALERT_WEBHOOK_URL must be a whole address"),
        ("ALERT_SLACK_URL", "https://", "ALERT_SLACK_URL must be a whole address"),
        ("ALERT_SLACK_URL", "https://[hooks", "ALERT_SLACK_URL must be a whole address"),
        ("ALERT_WEBHOOK_SECRET", "whsec_c2hvcnQ=", "ALERT_WEBHOOK_SECRET must be whsec_ and at least 24"),
        ("MPESA_CALLBACK_ADDRESSES", "10.0.0.0/8,here", "MPESA_CALLBACK_ADDRESSES must hold addresses"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(name, value, words):
    with pytest.raises(SettingsError) as raised:
        load_settings(GOOD | {name: value})
    assert words in str(raised.value)


def test_every_fault_is_told_at_once():
    with pytest.raises(SettingsError) as raised:
        load_settings({"PORT": "x", "REDIS_URL": "http://nowhere"})
    assert len(str(raised.value).splitlines()) == 4


def test_a_secret_is_never_shown_in_an_error():
    with pytest.raises(SettingsError) as raised:
        load_settings(GOOD | {"SECRET_KEY": "hunter2"})
    assert "hunter2" not in str(raised.value)


def test_the_page_of_settings_is_up_to_date(checkout):
    assert (checkout / "docs/settings.md").read_text() == page()


def test_the_levels_of_memory_rise():
    with pytest.raises(SettingsError) as raised:
        load_settings(GOOD | {"MEMORY_WARNING": "85"})
    assert "MEMORY_WARNING must be under MEMORY_CRITICAL" in str(raised.value)
    assert "found 85, 80 and 90" in str(raised.value)
