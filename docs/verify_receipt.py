#!/usr/bin/env python3
"""Verifies a Habeas receipt: verify_receipt.py RECEIPT.json PUBLIC_KEY_HEX [OBJECT_ID]. Plain Python 3, nothing of the server's."""

import base64
import hashlib
import hmac
import json
import sys

# Ed25519 (RFC 8032), verification only.
P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if (x * x - x2) % P:
        raise ValueError("not a point")
    return P - x if x & 1 != sign else x


def decode(data):
    number = int.from_bytes(data, "little")
    y = number & ((1 << 255) - 1)
    x = recover_x(y, number >> 255)
    return x, y, 1, x * y % P


def add(a, b):
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (recover_x(BASE_Y, 0), BASE_Y, 1, recover_x(BASE_Y, 0) * BASE_Y % P)


def verify(public, message, signature):
    r, s = decode(signature[:32]), int.from_bytes(signature[32:], "little")
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % Q
    left, right = multiply(s, BASE), add(r, multiply(h, decode(public)))
    same = not ((left[0] * right[2] - right[0] * left[2]) % P or (left[1] * right[2] - right[1] * left[2]) % P)
    return s < Q and same


def unpack(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


receipt, public = json.load(open(sys.argv[1])), bytes.fromhex(sys.argv[2])
header, payload, signature = receipt["signature"].split(".")
good = json.loads(unpack(header))["alg"] == "EdDSA"
good &= verify(public, f"{header}.{payload}".encode(), unpack(signature))
good &= json.loads(unpack(payload)) == receipt["statement"]
if len(sys.argv) > 3:
    mac = hmac.new(bytes.fromhex(receipt["salt"]), sys.argv[3].encode(), "sha256").hexdigest()
    good &= mac == receipt["statement"]["subject"]
print("OK" if good else "NOT VERIFIED")
sys.exit(0 if good else 6)
