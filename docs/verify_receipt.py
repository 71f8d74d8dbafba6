#!/usr/bin/env python3
"""Verifies a Habeas receipt and its place in the log: verify_receipt.py RECEIPT.json PUBLIC_KEY_HEX [OBJECT_ID]. Nothing but Python 3."""
import base64, hashlib, hmac, json, sys

def need(holds, otherwise):
    if not holds:
        raise ValueError(otherwise)

# Ed25519 (RFC 8032), verification only.
P, Q = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, I = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P)
def point(data):
    sign, y = divmod(int.from_bytes(data, "little"), 2**255)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if (x * x - square) % P == 0 else x * I % P
    need((x * x - square) % P == 0, "not a point")
    return x if x % 2 == sign else P - x, y
def add(a, b):
    (x, y), (u, v) = a, b
    t = D * x * y * u * v
    return (x * v + u * y) * pow(1 + t, -1, P) % P, (y * v + x * u) * pow(1 - t, -1, P) % P
def times(n, a):
    result = (0, 1)
    for bit in bin(n)[2:]:
        result = add(result, result)
        result = add(result, a) if bit == "1" else result
    return result
def signed(key, message, signature):
    s, half = int.from_bytes(signature[32:], "little"), signature[:32]
    h = int.from_bytes(hashlib.sha512(half + key + message).digest(), "little") % Q
    return s < Q and times(s, point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))) == add(point(half), times(h, point(key)))

# JSON with every member once and every number in one spelling: what another reader takes from it is the same.
def once(pairs):
    need(len(dict(pairs)) == len(pairs), "a member is there twice")
    return dict(pairs)
def integer(text):
    need(str(int(text)) == text, "not the usual way to write a number")
    return int(text)
def read(text): return json.loads(text, object_pairs_hook=once, parse_int=integer)
def canonical(value): return json.dumps(value, sort_keys=True)

# A JSON Web Signature (RFC 7515) by one of the keys: its payload.
def unpack(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(base64.urlsafe_b64encode(data).decode().rstrip("=") == text, "not base64url")
    return data
def jws(text, keys):
    header, payload, signature = text.split(".")
    ids = {hashlib.sha256(key).hexdigest()[:16]: key for key in keys}
    key = ids.get(read(unpack(header))["kid"])
    need(key and signed(key, f"{header}.{payload}".encode(), unpack(signature)), "not signed with a trusted key")
    return read(unpack(payload))

keys = [bytes.fromhex(sys.argv[2])]
try:
    with open(sys.argv[1], encoding="utf-8") as file:
        receipt = read(file.read())
    need(set(receipt) <= {"statement", "signature", "salt", "log"}, "not a receipt")
    log = receipt.get("log")
    need(log is None or set(log) == {"checkpoint", "index", "hashes", "keys"}, "not a proof")
    for announcement in log["keys"] if log else []:  # each key is announced by the one before it
        if read(unpack(announcement.split(".")[0]))["kid"] in [hashlib.sha256(key).hexdigest()[:16] for key in keys]:
            statement = jws(announcement, keys)
            need(statement["type"] == "key-rotation/1", "not the announcement of a key")
            keys.append(bytes.fromhex(statement["publicKey"]))
    need(canonical(jws(receipt["signature"], keys)) == canonical(receipt["statement"]), "the statement is not the signed one")
    if len(sys.argv) > 3:
        about = hmac.new(bytes.fromhex(receipt["salt"]), sys.argv[3].encode(), "sha256").hexdigest()
        need(about == receipt["statement"]["subject"], "about somebody else")
    if log:  # the checkpoint is a signed note (c2sp.org/tlog-checkpoint), the proof that of RFC 6962
        text, signature = log["checkpoint"].split("\n\n")
        origin, size, root = text.split("\n")
        note, ids = base64.b64decode(signature.split()[2]), {hashlib.sha256(origin.encode() + b"\n\1" + key).digest()[:4]: key for key in keys}
        need(note[:4] in ids and signed(ids[note[:4]], f"{text}\n".encode(), note[4:]), "the checkpoint is not signed")
        leaf = hashlib.sha256(receipt["signature"].encode()).digest()
        path, at, last = hashlib.sha256(b"\0" + leaf).digest(), log["index"], int(size) - 1
        need(type(at) is int and 0 <= at <= last, "not in the log")
        for sibling in map(bytes.fromhex, log["hashes"]):
            is_right = at % 2 == 1 or at == last
            path = hashlib.sha256(b"\1" + (sibling + path if is_right else path + sibling)).digest()
            while is_right and at % 2 == 0 and at:
                at, last = at // 2, last // 2
            at, last = at // 2, last // 2
        need(last == 0 and path == base64.b64decode(root), "not in the log")
except Exception as error:
    print(f"NOT VERIFIED: {error!r}")
    sys.exit(6)
print("OK, in the log" if log else "OK, without a proof that it is in the log")
