"""Report the signatures of a mail: DKIM of mail servers, patatt of developers.

Takes the bytes of a mail and gives one `Attestation` per signature. Never accepts or refuses a mail, since mailing
lists change mails. Without network it asks no DNS server, but still compares the text with the hash in the signature.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass
from pathlib import Path

VALID = "valid"
ALTERED = "FAILED: the text is not the signed one"
NO_DNS = "present, not checked: no DNS"


@dataclass(frozen=True)
class Attestation:
    """One signature: its kind, its signer, and the result of the check."""

    kind: str
    who: str
    status: str

    def __str__(self) -> str:
        return f"{self.kind} {self.who}: {self.status}"


def attestations(raw: bytes, *, network: bool) -> tuple[Attestation, ...]:
    """Return the signatures of a mail with the result of each check.

    Args:
        network: whether DNS may be asked for the DKIM keys.
    """
    head = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0].lower()
    signatures: list[Attestation] = []
    if re.search(rb"^dkim-signature:", head, re.MULTILINE):
        signatures += _dkim(raw, network=network)
    if re.search(rb"^x-developer-signature:", head, re.MULTILINE):
        signatures += _patatt(raw)
    return tuple(signatures)


def _shown(value: bytes | str | None) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value or "?"
    return re.sub(r"[^!-~]", "?", text)[:100]


def _dkim(raw: bytes, *, network: bool) -> list[Attestation]:
    """Check DKIM signatures (RFC 6376) with dkimpy."""
    import dkim
    from dkim.util import InvalidTagValueList, parse_tag_value

    try:
        message = dkim.DKIM(raw)
        signatures = [value for name, value in message.headers if name.lower() == b"dkim-signature"]
    except dkim.DKIMException as error:
        return [Attestation("DKIM", "?", f"cannot be read: {_shown(str(error))}")]
    results = []
    for number, signature in enumerate(signatures):
        try:
            fields = parse_tag_value(signature)
            who = _shown(fields.get(b"d"))
            status = _dkim_body(message.body, fields)
            if not status and network:
                status = _dkim_key(message, number)
        except (InvalidTagValueList, dkim.DKIMException, ValueError, KeyError, TypeError) as error:
            who, status = "?", f"cannot be read: {type(error).__name__}"
        results.append(Attestation("DKIM", who, status or f"{NO_DNS}; the text is the signed one"))
    return results


def _dkim_body(body: bytes, fields: dict[bytes, bytes]) -> str:
    """Compare the text of a mail with the hash in a signature; return what is wrong, or an empty string."""
    from dkim.canonicalization import CanonicalizationPolicy
    from dkim.crypto import HASH_ALGORITHMS

    hashed = HASH_ALGORITHMS[fields[b"a"]]()
    text = CanonicalizationPolicy.from_c_value(fields.get(b"c", b"simple/simple")).canonicalize_body(body)
    hashed.update(text[: int(fields[b"l"])] if b"l" in fields else text)
    wanted = base64.b64decode(re.sub(rb"\s+", b"", fields[b"bh"]))
    return "" if hashed.digest() == wanted else ALTERED


def _dkim_key(message: object, number: int) -> str:
    """Check a signature with the key from DNS; return an empty string if DNS does not answer."""
    from dkim.dnsplug import get_txt

    silent: list[str] = []

    def ask(name: bytes, timeout: int = 5) -> bytes | None:
        try:
            answer: bytes | None = get_txt(name, timeout)
        except Exception as error:
            silent.append(type(error).__name__)  # dnspython raises dozens of its own kinds
            return None
        return answer

    valid = message.verify(number, dnsfunc=ask)  # type: ignore[attr-defined]
    if silent:
        return ""
    return VALID if valid else "FAILED: the signature does not fit the key"


def _patatt(raw: bytes) -> list[Attestation]:
    """Check signatures of developers with the public keys that the user has collected for patatt."""
    import patatt

    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    keys = Path(data) / "patatt" / "public"
    try:
        message = patatt.PatattMessage(raw)
        fields = [
            (signature.get_field_as_str("i"), signature.get_field_as_str("a") or "") for signature in message.get_sigs()
        ]
        # Other algorithms would start gpg or ssh-keygen on data from outside.
        if not all(algorithm.startswith("ed25519") for _who, algorithm in fields):
            return [Attestation("patatt", _shown(who), f"present, not checked: {_shown(a)}") for who, a in fields]
        results = patatt.validate_message(raw, [str(keys)])
    except Exception as error:  # patatt and PyNaCl raise many kinds on bad input
        return [Attestation("patatt", "?", f"cannot be read: {type(error).__name__}")]
    words = {patatt.RES_VALID: VALID, patatt.RES_NOKEY: f"present, not checked: no key in {keys}"}
    return [
        Attestation("patatt", _shown(result[1]), words.get(result[0], f"FAILED: {_shown('; '.join(result[5]))}"))
        for result in results
    ]
