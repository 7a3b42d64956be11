"""A POST to somebody's address goes to the address that was checked, and to no private one."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from haven.operations import outbound
from haven.operations.outbound import Refused, is_public, look_up, post

NAME = "hooks.makao.test"


def address(text):
    return ipaddress.ip_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "10.0.0.8", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.8", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:8",
    ],
)  # fmt: skip
def test_an_address_inside_the_network_is_not_public(text):
    assert not is_public(address(text))


@pytest.mark.parametrize("text", ["196.201.214.200", "2001:4860:4860::8888", "64:ff9b::c4c9:d6c8"])
def test_an_address_of_the_internet_is_public(text):
    assert is_public(address(text))


def test_one_private_address_among_public_ones_is_refused(receiver):
    with pytest.raises(Refused, match="not a public one"):
        post(receiver.url, b"{}", {}, resolve=lambda *_: [address("196.201.214.200"), address("127.0.0.1")])
    assert receiver.heard == []


@pytest.mark.parametrize("url", ["http://", "http://nothing.invalid/x", f"http://{'a' * 70}.test/"])
def test_a_name_that_is_not_known_is_refused(url):
    with pytest.raises(Refused, match="no host"):
        post(url, b"{}", {})


def test_a_late_resolver_is_not_waited_for(monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(outbound, "_LOOK_UP_S", 0.01)
    monkeypatch.setattr(outbound, "_ask_system", lambda *_: answered.wait(60) and [address("127.0.0.1")])
    try:
        assert look_up("slow.test", 80) == []
    finally:
        answered.set()


def test_the_connection_goes_to_the_address_that_was_checked(start_receiver):
    """A name that means another machine when it is asked again (DNS rebinding) is not asked again."""
    checked = start_receiver("127.0.0.1")
    inside = start_receiver("127.0.0.2", checked.port)
    answers = iter([[address("127.0.0.1")], [address("127.0.0.2")]])

    status = post(
        f"http://{NAME}:{checked.port}/events",
        b'{"a":1}',
        {"webhook-id": "1"},
        may_be_private=True,
        resolve=lambda *_: next(answers),
    )

    assert status == 200
    assert inside.heard == []
    ((headers, body),) = checked.heard
    assert (headers["Host"], headers["webhook-id"], body) == (f"{NAME}:{checked.port}", "1", b'{"a":1}')
    assert next(answers) == [address("127.0.0.2")]


def test_an_address_that_takes_no_connection_is_followed_by_the_next(start_receiver):
    receiver = start_receiver("127.0.0.1")
    addresses = [address("127.0.0.3"), address("127.0.0.1")]
    url = f"http://{NAME}:{receiver.port}/"
    assert post(url, b"{}", {}, may_be_private=True, resolve=lambda *_: addresses) == 200
    assert len(receiver.heard) == 1


def test_nobody_at_any_address_is_an_error(start_receiver):
    receiver = start_receiver("127.0.0.1")
    url = f"http://{NAME}:{receiver.port}/"
    with pytest.raises(httpx.ConnectError):
        post(url, b"{}", {}, may_be_private=True, resolve=lambda *_: [address("127.0.0.3")])


def test_a_proxy_of_the_environment_is_not_used(receiver, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert post(receiver.url, b"{}", {}, may_be_private=True) == 200


@pytest.fixture
def certificate(tmp_path):
    """A certificate of NAME, self-signed: where it is."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure(start_receiver, certificate):
    """A receiver with TLS that notes the name it is asked for, and a client's context that trusts it."""
    asked = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    return start_receiver(tls=server), asked, ssl.create_default_context(cafile=str(certificate))


def test_tls_is_asked_for_and_checked_against_the_name(secure):
    receiver, asked, trusting = secure
    here = [address("127.0.0.1")]
    options = {"may_be_private": True, "resolve": lambda *_: here, "tls": trusting}

    assert post(f"https://{NAME}:{receiver.port}/", b"{}", {}, **options) == 200

    assert asked == [NAME]
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        post(f"https://other.makao.test:{receiver.port}/", b"{}", {}, **options)
    assert len(receiver.heard) == 1
