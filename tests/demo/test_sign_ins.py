"""The logins that a load gives are those of the database, and nothing of them is stored in the open."""

from __future__ import annotations

import uuid

from argon2 import PasswordHasher

from haven.identity.tokens import read_token
from tests.demo.loaded import Loaded

PLATFORM = str(uuid.UUID(int=0))


def _hash(loaded: Loaded, email: str) -> tuple[str, str, str]:
    ((agency, role, password_hash),) = loaded.rows(
        "SELECT u.agency_id::text, role, password_hash FROM user_account u JOIN sign_in_address s"
        " ON s.agency_id = u.agency_id AND s.user_id = u.id WHERE s.email = %s",
        email,
    )
    return agency, role, password_hash


def test_the_operator_is_a_user_of_the_platform(loaded: Loaded):
    login = loaded.logins["platform_admin"]
    agency, role, password_hash = _hash(loaded, login["email"])
    assert (agency, role) == (PLATFORM, "PLATFORM_ADMIN")
    assert PasswordHasher().verify(password_hash, login["password"])
    assert password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_the_others_have_every_role_of_an_agency(loaded: Loaded):
    logins = [loaded.logins["agency_admin"], *loaded.logins["others"]]
    roles = set()
    for login in logins:
        _, role, password_hash = _hash(loaded, login["email"])
        roles.add(role)
        assert PasswordHasher().verify(password_hash, login["password"])
    assert roles == {"AGENCY_ADMIN", "MANAGER", "ACCOUNTANT", "VIEWER"}


def test_passwords_of_administrators_are_their_own(loaded: Loaded):
    logins = loaded.logins
    others = {login["password"] for login in logins["others"]}
    assert len({logins["platform_admin"]["password"], logins["agency_admin"]["password"]} | others) == 3


def test_the_api_key_is_the_first_agency_s(loaded: Loaded):
    token = read_token(loaded.logins["agency_admin"]["api_key"])
    assert token is not None
    ((agency, scopes, slug),) = loaded.rows(
        "SELECT k.agency_id, scopes, slug FROM api_key k JOIN agency a ON a.id = k.agency_id WHERE secret_hash = %s",
        token.hash,
    )
    assert (str(agency), scopes, slug) == (str(token.agency_id), ["*"], "makao-bora")
