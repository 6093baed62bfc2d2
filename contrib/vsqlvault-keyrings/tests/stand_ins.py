"""Stand-ins that speak the wire formats of three key management services. What they wrap only they unwrap."""

from __future__ import annotations

import json
import os
import threading
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
Answer = tuple[int, dict[str, Any]]


class StandIn:
    """An HTTP server on the loopback that answers POST requests."""

    content_type = "application/json"

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.failing: Answer | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, headers: Any, body: dict[str, Any]) -> Answer:
        raise NotImplementedError

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, document = stand_in.failing or stand_in.answer(self.path, self.headers, body)
                text = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", stand_in.content_type)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class AwsKms(StandIn):
    """AWS JSON 1.1 with the targets of TrentService."""

    content_type = "application/x-amz-json-1.1"

    def __init__(self) -> None:
        self.masters: dict[str, AESGCM] = {}
        super().__init__()

    def answer(self, path: str, headers: Any, body: dict[str, Any]) -> Answer:
        if not headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=") or path != "/":
            return 400, {"__type": "IncompleteSignatureException"}
        target = headers["X-Amz-Target"]
        self.requests.append(target)
        master = self.masters.setdefault(body["KeyId"], AESGCM(AESGCM.generate_key(256)))
        context = json.dumps(body.get("EncryptionContext", {}), sort_keys=True).encode()
        if target == "TrentService.GenerateDataKey":
            key, nonce = os.urandom(body["NumberOfBytes"]), os.urandom(12)
            blob = nonce + master.encrypt(nonce, key, context)
            return 200, {"Plaintext": _b64(key), "CiphertextBlob": _b64(blob), "KeyId": body["KeyId"]}
        blob = b64decode(body["CiphertextBlob"])
        try:
            key = master.decrypt(blob[:12], blob[12:], context)
        except InvalidTag:
            return 400, {"__type": "InvalidCiphertextException"}
        return 200, {"Plaintext": _b64(key), "KeyId": body["KeyId"], "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}


class AzureKeyVault(StandIn):
    """The operations wrapkey and unwrapkey of keys, REST API 7.4."""

    def __init__(self) -> None:
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        super().__init__()

    def answer(self, path: str, headers: Any, body: dict[str, Any]) -> Answer:
        parts = urlsplit(path)
        _, keys, _, _, operation = parts.path.split("/")
        self.requests.append(operation)
        if headers["Authorization"] != "Bearer azure-token":
            return 401, {"error": {"code": "Unauthorized", "message": "secret words"}}
        if parse_qs(parts.query) != {"api-version": ["7.4"]} or keys != "keys" or body["alg"] != "RSA-OAEP-256":
            return 400, {"error": {"code": "BadParameter", "message": ""}}
        value = urlsafe_b64decode(body["value"] + "=" * (-len(body["value"]) % 4))
        try:
            done = (
                self.private.public_key().encrypt(value, OAEP)
                if operation == "wrapkey"
                else self.private.decrypt(value, OAEP)
            )
        except ValueError:
            return 400, {"error": {"code": "BadParameter", "message": "secret words"}}
        return 200, {
            "kid": f"{self.url}{parts.path.rpartition('/')[0]}",
            "value": urlsafe_b64encode(done).rstrip(b"=").decode(),
        }


class OpenBaoTransit(StandIn):
    """The endpoints datakey/plaintext and decrypt of a transit engine."""

    def __init__(self) -> None:
        self.masters: dict[str, AESGCM] = {}
        super().__init__()

    def answer(self, path: str, headers: Any, body: dict[str, Any]) -> Answer:
        _, version, mount, *operation, name = path.split("/")
        self.requests.append("/".join(operation))
        if headers["X-Vault-Token"] != "bao-token" or version != "v1" or mount != "transit":
            return 403, {"errors": ["permission denied"]}
        master = self.masters.setdefault(name, AESGCM(AESGCM.generate_key(256)))
        if operation == ["datakey", "plaintext"]:
            key, nonce = os.urandom(body["bits"] // 8), os.urandom(12)
            ciphertext = f"vault:v1:{_b64(nonce + master.encrypt(nonce, key, None))}"
            return 200, {"data": {"plaintext": _b64(key), "ciphertext": ciphertext, "key_version": 1}}
        blob = b64decode(body["ciphertext"].rpartition(":")[2])
        try:
            return 200, {"data": {"plaintext": _b64(master.decrypt(blob[:12], blob[12:], None))}}
        except InvalidTag:
            return 400, {"errors": ["cipher: message authentication failed"]}


def _b64(value: bytes) -> str:
    return b64encode(value).decode("ascii")
