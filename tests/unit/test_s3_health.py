"""What Status and `kedge doctor` say of volumes in a bucket."""

import ipaddress
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from backends.base import Context, Fencing, Level, Spec
from backends.errors import Invalid, InvalidOptions
from backends.options import parse
from backends.s3 import S3Backend
from backends.s3.doctor import clocks, examined
from backends.s3.health import judged, shown
from backends.s3.options import S3Options, S3Settings
from backends.stores.bucket import Bucket
from backends.stores.memory import MemoryStore
from backends.stores.s3 import Endpoint, connect
from tests.unit.stores.moto import moto_endpoint
from tests.unit.stores.recording_server import NOTHING_LISTED, recording

LAG: dict[str, Any] = {
    "bytes": 12288,
    "seconds": 0.8,
    "commit": 17,
    "epoch": 5 << 20,
    "objects": 3,
    "stored": 9 << 20,
    "cached": 4 << 20,
    "hits": 90,
    "misses": 10,
    "requests": 71,
    "damaged": [],
    "trouble": "",
}


def test_status_says_what_is_not_in_the_bucket_yet() -> None:
    facts = shown(LAG)
    assert facts["unsent"] == "12K since 0.8 s"
    assert facts["last_commit"] == f"record 17 under epoch {5 << 20}"
    assert facts["cached"] == "4M (90 of 100 reads)"
    assert facts["stored"] == "9M in 3 objects"
    assert facts["requests_per_minute"] == "71"
    assert "damaged" not in facts
    assert "trouble" not in facts
    assert "taken_over" not in shown({**LAG, "taken_over": ""})
    assert shown({**LAG, "taken_over": "from node one"})["taken_over"] == "from node one"
    assert shown({**LAG, "bytes": 0, "seconds": 0.0})["unsent"] == "0"
    assert shown({**LAG, "damaged": ["a", "b"], "trouble": "t"})["damaged"] == "a; b"


def test_a_limit_that_is_reached_is_said() -> None:
    waits = {**LAG, "seconds": 42.0, "flushes_wait": 12.3}
    assert "flushes_wait" not in shown({**LAG, "flushes_wait": 0.0})
    assert "for the bucket since 12.3 s" in shown(waits)["flushes_wait"]
    (found, _) = judged("db", waits, 1.0)
    assert found.level is Level.WARNING
    assert "fsync has waited 12.3 s" in found.detail


def test_reads_that_wait_are_said() -> None:
    waits = {**LAG, "reads_wait": 12.3}
    assert "reads_wait" not in shown({**LAG, "reads_wait": 0.0})
    assert "since 12.3 s" in shown(waits)["reads_wait"]
    (found,) = judged("db", waits, 1.0)
    assert (found.level, "12.3 s" in found.detail) == (Level.WARNING, True)


def test_doctor_says_what_waits_and_what_is_damaged() -> None:
    assert judged("db", LAG, 1.0) == []
    (late,) = judged("db", {**LAG, "seconds": 40.0, "trouble": "503 SlowDown"}, 1.0)
    assert late.level is Level.WARNING
    assert "12K have waited 40 s for the bucket: 503 SlowDown" in late.detail
    assert judged("db", {**LAG, "seconds": 40.0}, 20.0) == []
    (bad,) = judged("db", {**LAG, "damaged": ["object data/1 is missing"]}, 1.0)
    assert bad.level is Level.ERROR
    assert "object data/1 is missing" in bad.detail
    assert "kedge fsck db" in bad.advice


def test_clocks_that_differ_are_noticed() -> None:
    here = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert list(clocks("Tue, 03 Feb 2026 04:05:16 GMT", here)) == []
    assert list(clocks("", here)) == []
    (behind,) = clocks("Tue, 03 Feb 2026 04:07:06 GMT", here)
    assert (behind.level, behind.detail) == (Level.WARNING, "120 s behind that of the store")
    (ahead,) = clocks("Tue, 03 Feb 2026 03:05:06 GMT", here)
    assert (ahead.level, ahead.detail) == (Level.ERROR, "3600 s ahead of that of the store")


@pytest.fixture(scope="module")
def endpoint() -> Any:
    with moto_endpoint() as found:
        connect(found).create_bucket(Bucket="there")
        yield found


def settings(server: Endpoint, tmp_path: Path, **changed: Any) -> S3Settings:
    credentials = tmp_path / "credentials"
    credentials.write_text("[default]\naws_access_key_id=test\naws_secret_access_key=hush\n")
    fields: dict[str, Any] = {
        "bucket": "there",
        "endpoint": server.url,
        "region": "us-east-1",
        "credentials": credentials,
        "path_style": True,
    }
    return S3Settings(**{**fields, **changed})


def backend(settings: S3Settings, tmp_path: Path) -> S3Backend:
    return S3Backend(settings, Context("s3", "one", tmp_path / "mounts", tmp_path / "state"))


def said(settings: S3Settings, tmp_path: Path) -> list[tuple[Level, str]]:
    (tmp_path / "mounts").mkdir(exist_ok=True)
    found = backend(settings, tmp_path).findings()
    text = " ".join(f"{one.subject} {one.detail} {one.advice}" for one in found)
    assert "hush" not in text
    return [(one.level, f"{one.subject}: {one.detail}") for one in found]


def test_a_bucket_that_is_well(endpoint: Endpoint, tmp_path: Path) -> None:
    assert said(settings(endpoint, tmp_path), tmp_path) == [
        (Level.OK, "bucket there: reachable, with credentials from the profile's file"),
        (Level.OK, "bucket there: conditional writes work, also in a race"),
    ]


def test_a_bucket_for_one_node(endpoint: Endpoint, tmp_path: Path) -> None:
    last = said(settings(endpoint, tmp_path, single_node=True), tmp_path)[-1]
    assert last[0] is Level.WARNING
    assert "nothing keeps another one out" in last[1]


def test_credentials_from_the_environment(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    first = said(settings(endpoint, tmp_path, credentials=None), tmp_path)[0]
    assert first == (Level.OK, "bucket there: reachable, with credentials from the environment")


def test_credentials_from_the_shared_file(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    chosen = settings(endpoint, tmp_path)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(chosen.credentials))
    first = said(replace(chosen, credentials=None), tmp_path)[0]
    assert first[1] == "bucket there: reachable, with credentials from the SDK's shared file"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"bucket": "elsewhere"}, "there is no such bucket"),
        ({"endpoint": "http://127.0.0.1:9"}, "nothing answers at http://127.0.0.1:9, to ask for"),
        ({"credentials": Path("/nowhere/file")}, "No such file"),
        ({"ca_file": Path("/nowhere/ca.pem")}, "No such file"),
        ({"keys": Path("/nowhere/keys")}, "No such file"),
    ],
)
def test_what_is_wrong_is_said_in_words(
    endpoint: Endpoint, tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    level, text = said(settings(endpoint, tmp_path, **changed), tmp_path)[-1]
    assert level is Level.ERROR
    assert words in text


def test_no_credentials_at_all(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    found = list(
        examined(
            settings(endpoint, tmp_path, credentials=None),
            Bucket("there", endpoint=endpoint.url, region="us-east-1", path_style=True),
        )
    )
    assert "there are no credentials for bucket there" in found[-1].detail


def certificate(place: Path) -> ssl.SSLContext:
    """Of a server on loopback, by nobody's authority; in `place`, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a store")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2060, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(pem, form, serialization.NoEncryption())
    place.write_bytes(secret + made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place)
    return context


def test_a_certificate_is_trusted_when_ca_file_names_it(tmp_path: Path) -> None:
    pem = tmp_path / "pem"
    with recording(body=NOTHING_LISTED, tls=certificate(pem)) as server:
        chosen = Endpoint(url=server.url)
        level, text = said(settings(chosen, tmp_path), tmp_path)[-1]
        assert level is Level.ERROR
        assert "not trusted" in text
        assert "ca_file=" in text
        assert server.asked == []
        level, text = said(settings(chosen, tmp_path, ca_file=pem), tmp_path)[0]
        assert (level, text[:24]) == (Level.OK, "bucket there: reachable,")


class Careless(MemoryStore):
    """Takes conditions for decoration."""

    def put_if_absent(self, key: str, body: bytes) -> None:
        self.put(key, body)


def test_a_store_without_conditional_writes_is_refused_or_used_by_one_node(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused at every use, and nothing is left in it; with `single_node` it is not even tried."""
    store = Careless()
    monkeypatch.setattr("backends.s3.backend.bucket_store", lambda bucket: store)
    options = parse(S3Options, {"encrypt": "no such key"}, subject="db")
    spec = Spec("db", options, "0d1e2f30-0000-4000-8000-000000000001", "2026-02-03T04:05:06Z")
    refused = backend(settings(endpoint, tmp_path), tmp_path)
    for _ in range(2):
        with pytest.raises(Invalid, match="cannot be used by several nodes: a conditional write"):
            refused.create(spec)
    assert store.objects == {}
    assert said(settings(endpoint, tmp_path), tmp_path)[-1][0] is Level.ERROR
    alone = backend(settings(endpoint, tmp_path, single_node=True), tmp_path)
    assert alone.capabilities.fencing is Fencing.NONE
    assert not alone.capabilities.everywhere
    with pytest.raises(Invalid, match="no such key"):
        alone.create(spec)
    assert alone.volumes() == []
    assert not [key for key in store.objects if "disks/" in key]


def test_every_setting_is_checked() -> None:
    bad = {
        "bucket": "",
        "region": "",
        "endpoint": "s3.example.org:9000",
        "path_style": "maybe",
        "ca_file": "relative.pem",
        "credentials": "relative",
        "keys": "relative",
        "single_node": "perhaps",
        "storage_class": "cheap",
    }
    for name, value in bad.items():
        with pytest.raises(InvalidOptions, match=name):
            parse(S3Settings, {"bucket": "b", name: value}, subject="profile")
    with pytest.raises(InvalidOptions, match="hours before"):
        parse(S3Settings, {"bucket": "b", "storage_class": "GLACIER"}, subject="profile")


def test_every_option_is_checked() -> None:
    bad = {
        "size": "1",
        "fs": "btrfs",
        "durability": "cloud",
        "rpo": "soon",
        "rpo_limit": "0.5",
        "reads": "sometimes",
        "compress": "gzip",
        "encrypt": "",
        "cache": "much",
        "log": "-1",
        "scrub": "x",
    }
    for name, value in bad.items():
        with pytest.raises(InvalidOptions, match=name):
            parse(S3Options, {name: value}, subject="db")
