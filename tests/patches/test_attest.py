"""What is said of signatures."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from patches import attest, incoming
from tests import mails
from tests.mails import read

KEY = b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="  # RFC 8463, appendix A: a key that everybody knows


def signed(number: int) -> bytes:
    import dkim

    raw = mails.mail(number)
    names = [b"from", b"subject", b"date", b"message-id"]
    return (
        bytes(dkim.sign(raw, b"s", b"example.org", KEY, include_headers=names, signature_algorithm=b"ed25519-sha256"))
        + raw
    )


def test_dkim_is_reported(tmp_path: Path) -> None:
    mine = [mails.mail(0), signed(1), signed(2).replace(b"Why the change", b"What the change"), signed(3)]
    mine[3] = mine[3].replace(b"DKIM-Signature: v=1;", b"DKIM-Signature: v=1; v=2;", 1)
    rows = incoming.rows(read(tmp_path, mails.mbox(mine)))
    assert rows[0]["attestation"] == "DKIM example.org: present, not checked: no DNS; the text is the signed one"
    assert rows[1]["attestation"] == "DKIM example.org: FAILED: the text is not the signed one"
    assert rows[2]["attestation"] == "DKIM ?: cannot be read: DuplicateTag"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "valid"),
        (
            b"v=DKIM1; k=ed25519; p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "FAILED: the signature does not fit the key",
        ),
        (OSError("no network"), "present, not checked: no DNS; the text is the signed one"),
    ],
)
def test_dkim_with_a_network(answer: bytes | OSError, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def get_txt(name: bytes, timeout: int) -> bytes:
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr("dkim.dnsplug.get_txt", get_txt)
    (found,) = attest.attestations(signed(1), network=True)
    assert (found.kind, found.who, found.status) == ("DKIM", "example.org", status)


def test_patatt_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import patatt
    from nacl.signing import SigningKey

    key = SigningKey(base64.b64decode(KEY))
    message = patatt.PatattMessage(mails.mail(1))
    message.sign("ed25519", base64.b64encode(bytes(key)), "ada@example.org", "default")
    raw = message.as_bytes()
    (found,) = attest.attestations(raw, network=False)
    assert (found.kind, found.who) == ("patatt", "ada@example.org")
    assert found.status.startswith("present, not checked: no key in ")
    place = tmp_path / "user-home/.local/share/patatt/public/ed25519/example.org/ada"
    place.mkdir(parents=True)
    (place / "default").write_bytes(base64.b64encode(bytes(key.verify_key)))
    assert str(attest.attestations(raw, network=False)[0]) == "patatt ada@example.org: valid"
    (found,) = attest.attestations(raw.replace(b"Why the change", b"What the change"), network=False)
    assert found.status.startswith("FAILED")
    (found,) = attest.attestations(b"X-Developer-Signature: rubbish\n\nx\n", network=False)
    assert (found.who, found.status) == ("?", "present, not checked: ?")
