"""Has OpenSSL check what the server signs: OpenDSR's answers against the published certificate, a receipt against the log's key.

Python's own library and the program `openssl`, and none of the server's code. A changed byte has to fail in both.
"""

import base64
import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

from checks import check, finish

ENDPOINT = os.environ["HABEAS_TEST_ENDPOINT"]
FOLDER = Path(os.environ["HABEAS_TEST_FOLDER"])
CERTIFICATE = Path(os.environ["HABEAS_TEST_CERTIFICATE"])
EMAIL = os.environ["HABEAS_TEST_EMAIL"]
#: What stands before the 32 bytes of an Ed25519 public key in a SubjectPublicKeyInfo (RFC 8410, section 4).
ED25519 = bytes.fromhex("302a300506032b6570032100")


def ask(method, path, token=None, body=None):
    """The answer's headers and bytes."""
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ENDPOINT + path, data, headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return answer.headers, answer.read()


def privacy(method, path, token=None, body=None):
    return json.loads(ask(method, f"/api/privacy/v1{path}", token, body)[1])


def written(name, content):
    path = FOLDER / name
    path.write_bytes(content)
    return str(path)


def accepts(*arguments):
    """Whether OpenSSL accepts a signature; it has to say so in words, too."""
    result = subprocess.run(["openssl", *arguments], capture_output=True, text=True)
    said = "Verified OK" in result.stdout or "Signature Verified Successfully" in result.stdout
    if said != (result.returncode == 0):
        check(f"openssl {arguments[0]}: {result.returncode} {result.stdout} {result.stderr}", False)
    return said and result.returncode == 0


def changed(content):
    """The same with one bit of one byte in the middle turned."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def opendsr(officer):
    def signed(name, headers, body):
        signature = base64.b64decode(headers["x-opendsr-signature"], validate=True)

        def holds(signature, body):
            files = ["-signature", written("opendsr.sig", signature), written("opendsr.body", body)]
            return accepts("dgst", "-sha256", "-verify", str(key), *files)

        check(f"{name}: signed", holds(signature, body))
        check(f"{name}: a changed body", not holds(signature, changed(body)))
        check(f"{name}: a changed signature", not holds(changed(signature), body))
        check(f"{name}: for whom", headers["x-opendsr-processor-domain"] == "localhost")

    headers, discovery = ask("GET", "/opendsr/v2/discovery")
    address = json.loads(discovery)["processor_certificate"]
    published = ask("GET", urllib.parse.urlsplit(address).path)[1]
    check("the certificate is the operator's", published == CERTIFICATE.read_bytes())
    key = FOLDER / "opendsr.pem"
    subprocess.run(["openssl", "x509", "-in", written("published.pem", published), "-pubkey", "-noout", "-out", key], check=True)
    signed("discovery", headers, discovery)
    identity = {"identity_type": "email", "identity_value": EMAIL, "identity_format": "raw"}
    body = {
        "regulation": "gdpr",
        "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
        "subject_request_type": "access",
        "submitted_time": "2026-11-01T15:00:00Z",
        "subject_identities": [identity],
        "api_version": "2.0",
    }
    signed("a request", *ask("POST", "/opendsr/v2/requests", officer, body))
    signed("its status", *ask("GET", f"/opendsr/v2/requests/{body['subject_request_id']}", officer))


def receipt(person):
    plan = privacy("POST", "/persons/me/erasure-plans", person, {})
    privacy("POST", "/erasures", person, {"plan": plan["plan"], "confirm": EMAIL, "digest": plan["digest"]})
    while (report := privacy("GET", f"/erasures/{plan['plan']}"))["status"] == "running":
        time.sleep(0.05)
    check(f"erased: {report}", report["status"] == "completed")
    found = privacy("GET", f"/erasures/{plan['plan']}/receipt")
    header, payload, signature = found["signature"].split(".")

    def decoded(text):
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    said = json.loads(decoded(header))
    check(f"how it is signed: {said}", said["alg"] == "EdDSA")
    check("what is signed is what can be read", json.loads(decoded(payload)) == found["statement"])
    (public,) = [key["publicKey"] for key in privacy("GET", "/log/keys") if key["keyId"] == said["kid"]]
    key = written("receipt.der", ED25519 + bytes.fromhex(public))

    def holds(signature, signed):
        files = ["-sigfile", written("receipt.sig", signature), "-in", written("receipt.signed", signed)]
        return accepts("pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", key, "-rawin", *files)

    signed, signature = f"{header}.{payload}".encode(), decoded(signature)
    check("a receipt: signed", holds(signature, signed))
    check("a receipt: something changed in it", not holds(signature, changed(signed)))
    check("a receipt: a changed signature", not holds(changed(signature), signed))


opendsr(os.environ["HABEAS_TEST_OFFICER"])
receipt(os.environ["HABEAS_TEST_TOKEN"])
finish("OpenSSL on signatures")
