#!/usr/bin/env python3
"""Makes jwt_vectors.json: tokens signed by PyJWT and `cryptography`, which share no code with our verifier.

The keys are created here for tests only and not kept, except for one private key that must be refused as a public key.
Therefore each run makes other vectors.

    python3 -m venv venv && venv/bin/pip install 'pyjwt==2.15.1' 'cryptography==50.0.2'
    venv/bin/python shared/src/auth/testdata/make_jwt_vectors.py > shared/src/auth/testdata/jwt_vectors.json
"""

import base64
import hashlib
import hmac
import json

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

FAR = 4_102_444_800  # the year 2100
ISSUER, AUDIENCE = "https://issuer.example", "tidings"
CLAIMS = {"sub": "alice", "name": "Alice", "iss": ISSUER, "aud": AUDIENCE, "exp": FAR}
SECRET = "a secret of the vectors, 64 bytes long, so that HS512 is content"
PEM = serialization.Encoding.PEM
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


def b64(data):
    if isinstance(data, (dict, list)):
        data = json.dumps(data, separators=(",", ":"))
    if isinstance(data, str):
        data = data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def pem(key):
    return key.public_key().public_bytes(PEM, SPKI).decode()


def private_pem(key):
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def sign(key, algorithm, claims=CLAIMS, **header):
    return jwt.encode(claims, key, algorithm=algorithm, headers=header)


def hs256(key, header, claims=CLAIMS):
    """A token with an arbitrary header, signed with HMAC."""
    body = f"{b64(header)}.{b64(claims)}"
    if isinstance(key, str):
        key = key.encode()
    return f"{body}.{b64(hmac.new(key, body.encode(), hashlib.sha256).digest())}"


def rs256(key, header, claims=CLAIMS):
    body = f"{b64(header)}.{b64(claims)}"
    return f"{body}.{b64(key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def less(claim):
    return {name: value for name, value in CLAIMS.items() if name != claim}


rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
p256 = ec.generate_private_key(ec.SECP256R1())
p384 = ec.generate_private_key(ec.SECP384R1())
ed = ed25519.Ed25519PrivateKey.generate()
mallory = rsa.generate_private_key(public_exponent=65537, key_size=2048)
mallory_p256 = ec.generate_private_key(ec.SECP256R1())
small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
small_jwk = json.loads(RSAAlgorithm.to_jwk(small.public_key()))
p521 = ec.generate_private_key(ec.SECP521R1())
k256 = ec.generate_private_key(ec.SECP256K1())
private = {"rsa": rsa_key, "p256": p256, "p384": p384, "ed": ed}
kind = {"rsa": RSAAlgorithm, "p256": ECAlgorithm, "p384": ECAlgorithm, "ed": OKPAlgorithm}
fits = {
    "rsa": ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
    "p256": ["ES256"],
    "p384": ["ES384"],
    "ed": ["EdDSA"],
}


def jwk(name, **more):
    public = json.loads(kind[name].to_jwk(private[name].public_key()))
    public.pop("key_ops", None)
    return {**public, **more}


# Each key once for each algorithm that it supports, with an id that names the algorithm.
keys = [jwk(name, kid=f"{name}-{alg}", alg=alg, use="sig") for name in fits for alg in fits[name]]
keys += [
    jwk("rsa", kid="unnamed"),
    jwk("rsa", kid="for-encryption", use="enc"),
    jwk("rsa", kid="for-wrapping", key_ops=["wrapKey"]),
    jwk("rsa", kid="strange-algorithm", alg="RSA-OAEP-256"),
    {"kty": "EC", "kid": "strange-curve", "crv": "secp256k1", "x": b64(b"x" * 32), "y": b64(b"y" * 32)},
    {"kty": "EC", "kid": "off-the-curve", "crv": "P-256", "x": b64(b"x" * 32), "y": b64(b"y" * 32)},
    {"kty": "oct", "kid": "symmetric", "alg": "HS256", "k": b64(SECRET)},
    {"kty": "RSA", "kid": "small", "n": small_jwk["n"], "e": small_jwk["e"]},
    {"kty": "RSA", "kid": "half"},
    {"kty": "AKP", "kid": "future"},
    {"kid": 7},
    "not a key",
]

good = [{"name": f"{alg} by the secret", "key": "secret", "token": sign(SECRET, alg)} for alg in ("HS256", "HS384", "HS512")]
for name, algorithms in fits.items():
    for alg in algorithms:
        good.append({"name": f"{alg} by its id", "key": "jwks", "token": sign(private[name], alg, kid=f"{name}-{alg}")})
        good.append({"name": f"{alg} without an id", "key": name, "token": sign(private[name], alg)})

rsa_pem = pem(rsa_key)
rsa_der = rsa_key.public_key().public_bytes(serialization.Encoding.DER, SPKI)
mallory_jwk = json.loads(RSAAlgorithm.to_jwk(mallory.public_key()))
mallory_jwk.pop("key_ops", None)
rs = sign(rsa_key, "RS256", kid="rsa-RS256")
head, body, signature = rs.split(".")
es = sign(p256, "ES256", kid="p256-ES256")
es_message = es.rsplit(".", 1)[0]
der_signature = p256.sign(es_message.encode(), ec.ECDSA(hashes.SHA256()))

bad = []


def refused(name, reason, token):
    bad.append({"name": name, "reason": reason, "token": token})


for none in ("none", "None", "nOnE", ""):
    refused(f"alg {none!r}, no signature", "algorithm", f"{b64({'alg': none, 'typ': 'JWT'})}.{body}.")
    refused(f"alg {none!r} with a signature of ours", "algorithm", f"{b64({'alg': none, 'kid': 'rsa-RS256'})}.{body}.{signature}")
for name, stolen in {"PEM": rsa_pem, "PEM without its last line end": rsa_pem.strip(), "DER": rsa_der}.items():
    refused(f"RSA key as {name} taken for a secret, with its id", "algorithm", hs256(stolen, {"alg": "HS256", "kid": "rsa-RS256"}))
    refused(f"RSA key as {name} taken for a secret", "algorithm", hs256(stolen, {"alg": "HS256"}))
refused("modulus taken for a secret", "algorithm", hs256(jwk("rsa")["n"], {"alg": "HS256", "kid": "rsa-RS256"}))
refused("symmetric key of the set", "algorithm", hs256(SECRET, {"alg": "HS256", "kid": "symmetric"}))
refused("key in the header, with an id of ours", "signature", rs256(mallory, {"alg": "RS256", "kid": "rsa-RS256", "jwk": mallory_jwk}))
refused("key in the header, with its own id", "unknown_key", rs256(mallory, {"alg": "RS256", "kid": "mallory", "jwk": {**mallory_jwk, "kid": "mallory"}}))
refused("key set elsewhere", "signature", rs256(mallory, {"alg": "RS256", "kid": "rsa-RS256", "jku": "https://evil.example/keys"}))
refused("certificate elsewhere", "signature", rs256(mallory, {"alg": "RS256", "kid": "rsa-RS256", "x5u": "https://evil.example/cert"}))
refused("certificate in the header", "signature", rs256(mallory, {"alg": "RS256", "kid": "rsa-RS256", "x5c": ["MIIB"]}))
refused("critical extension", "malformed", sign(rsa_key, "RS256", kid="rsa-RS256", crit=["exp"]))
refused("critical extension unknown", "malformed", sign(rsa_key, "RS256", kid="rsa-RS256", crit=["x"], x=1))
refused("no critical extension", "malformed", sign(rsa_key, "RS256", kid="rsa-RS256", crit=[]))
refused("payload that is not encoded", "malformed", rs256(rsa_key, {"alg": "RS256", "kid": "rsa-RS256", "b64": False, "crit": ["b64"]}))
refused("id that is a path, with an empty secret", "algorithm", hs256(b"", {"alg": "HS256", "kid": "../../../../dev/null"}))
refused("id that is a path", "unknown_key", rs256(mallory, {"alg": "RS256", "kid": "/etc/passwd"}))
refused("id that is SQL", "unknown_key", rs256(mallory, {"alg": "RS256", "kid": "x' UNION SELECT 'key' --"}))
refused("id that is a URL", "unknown_key", rs256(mallory, {"alg": "RS256", "kid": "https://evil.example/key.pem"}))
refused("id that is empty", "unknown_key", rs256(mallory, {"alg": "RS256", "kid": ""}))
refused("id that is a number", "malformed", rs256(rsa_key, {"alg": "RS256", "kid": 7}))
refused("id that is a list", "malformed", rs256(rsa_key, {"alg": "RS256", "kid": ["rsa-RS256"]}))
for unfit in ("for-encryption", "for-wrapping", "strange-algorithm", "strange-curve", "off-the-curve", "small", "half", "future"):
    refused(f"id of a key that is {unfit}", "unknown_key", sign(rsa_key, "RS256", kid=unfit))
refused("several keys could be meant", "unknown_key", sign(rsa_key, "RS256"))
refused("another algorithm of the same key", "algorithm", sign(rsa_key, "RS512", kid="rsa-RS256"))
refused("padding of another family", "algorithm", sign(rsa_key, "PS256", kid="rsa-RS256"))
refused("RS512 by a key without a name for it", "algorithm", sign(rsa_key, "RS512", kid="unnamed"))
refused("curve of another key", "algorithm", sign(p384, "ES384", kid="p256-ES256"))
refused("algorithm that is not served", "algorithm", sign(p521, "ES512", kid="p256-ES256"))
refused("id of another key", "signature", sign(rsa_key, "RS256", kid="rsa-RS256")[:-8] + "AAAAAAAA")
refused("signed by another", "signature", sign(mallory_p256, "ES256", kid="p256-ES256"))
refused("no signature", "signature", f"{head}.{body}.")
refused("signature of zeros", "signature", f"{es_message}.{b64(bytes(64))}")
refused("signature in ASN.1", "signature", f"{es_message}.{b64(der_signature)}")
refused("claims of another token", "signature", f"{head}.{b64({**CLAIMS, 'sub': 'mallory'})}.{signature}")
refused("header of another token", "signature", f"{b64({'alg': 'RS256', 'kid': 'rsa-RS256'})}.{body}.{signature}")
refused("five parts", "malformed", f"{head}.{body}.{signature}.x.y")
refused("two parts", "malformed", f"{head}.{body}")
refused("padded base64", "malformed", f"{head}=.{body}.{signature}")
refused("white space", "malformed", f" {head}.{body}.{signature}")
refused("named twice", "malformed", rs256(rsa_key, {"alg": "RS256", "kid": "rsa-RS256"}).replace(b64({"alg": "RS256", "kid": "rsa-RS256"}), b64('{"alg":"RS256","alg":"none"}')))
refused("header is no object", "malformed", f"{b64([])}.{body}.{signature}")
refused("over 8 KiB", "malformed", sign(rsa_key, "RS256", {**CLAIMS, "more": "x" * 8192}, kid="rsa-RS256"))
refused("expired", "expired", sign(rsa_key, "RS256", {**CLAIMS, "exp": 1_000_000_000}, kid="rsa-RS256"))
refused("not yet valid", "not_yet_valid", sign(rsa_key, "RS256", {**CLAIMS, "nbf": FAR - 1}, kid="rsa-RS256"))
for claim in ("exp", "sub", "iss", "aud"):
    refused(f"no {claim}", "claims", sign(rsa_key, "RS256", less(claim), kid="rsa-RS256"))
for claim, values in {
    "exp": ["4102444800", None, -1, {}, True],
    "nbf": ["1", {}],
    "sub": ["", " ", "a b", "..", None, {}, ["alice"], 1.5, 1e300, True, "x" * 129],
    "iss": ["https://issuer.example/", "https://evil.example", "", None, [ISSUER], {}],
    "aud": ["other", "", None, [], ["other"], {}, "tidings2"],
}.items():
    for value in values:
        reason = "claims" if claim != "exp" or value != 1_000_000_000 else "expired"
        refused(f"{claim} is {json.dumps(value)[:20]}", reason, rs256(rsa_key, {"alg": "RS256", "kid": "rsa-RS256"}, {**CLAIMS, claim: value}))
refused("claims are no object", "malformed", rs256(rsa_key, {"alg": "RS256", "kid": "rsa-RS256"}, []))

odd = [
    {"name": "several audiences", "user": "alice", "token": sign(rsa_key, "RS256", {**CLAIMS, "aud": ["other", AUDIENCE]}, kid="rsa-RS256")},
    {"name": "a number", "user": "42", "token": rs256(rsa_key, {"alg": "RS256", "kid": "rsa-RS256"}, {**CLAIMS, "sub": 42})},
    {"name": "fractions of seconds", "user": "alice", "token": rs256(rsa_key, {"alg": "RS256", "kid": "rsa-RS256"}, {**CLAIMS, "exp": FAR + 0.5, "nbf": 0.5})},
    {"name": "a key set elsewhere, told by ourselves", "user": "alice", "token": rs256(rsa_key, {"alg": "RS256", "kid": "rsa-RS256", "jku": "https://issuer.example/keys"})},
    {"name": "a key that names no algorithm", "user": "alice", "token": sign(rsa_key, "RS256", kid="unnamed")},
]

print(
    json.dumps(
        {
            "made by": "make_jwt_vectors.py, with keys made for tests only",
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "secret": SECRET,
            "pems": {name: pem(key) for name, key in private.items()},
            "unusable": {
                "RSA of 1024 bits": pem(small),
                "curve P-521": pem(p521),
                "curve secp256k1": pem(k256),
                "private key": private_pem(mallory_p256),
                "half a key": "\n".join(rsa_pem.splitlines()[:3] + rsa_pem.splitlines()[-1:]),
                "no end": rsa_pem[:200],
                "no PEM": "hello",
            },
            "jwks": {"keys": keys},
            "good": good,
            "odd": odd,
            "bad": bad,
        },
        indent=1,
    )
)
