"""The cost of a client certificate: on each request, on first use, and forwarded by a proxy.

``python -m benchmarks.bench_certificates``. Measured is the additional work of a request: the check of revocation and
expiry, the forwarded certificate, and the mapping.
"""

import base64
import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from benchmarks.bench_credentials import microseconds
from tests.support.certificates import Authority, uri
from tests.support.settings import checked
from vsqlvault.http.forwarding import Forwarding
from vsqlvault.http.messages import Request
from vsqlvault.http.server.client_certificates import ClientCertificate
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault_plugins.auth.mtls import CertificateAuthenticator

CERTIFICATES = 200
REPEATS = 2000
AT_ONCE = 20


class Ground:
    """An authority and settings that map a hundred names of its clients."""

    def __init__(self, directory):
        self.authority = Authority(Path(directory))
        server = self.authority.server()
        tls = {
            "cert_file": str(server.cert_file),
            "key_file": str(server.key_file),
            "client_cert": "optional",
            "client_ca_file": str(self.authority.cert_file),
            "crl_file": str(self.authority.revoke()),
        }
        self.settings = checked(
            {
                "server": {"tls": tls, "trusted_proxies": ["127.0.0.1"], "forwarded_certificates": {}},
                "auth": {"mtls": [{"san_uri": f"spiffe://bench/{n}", "app": f"app-{n}"} for n in range(100)]},
            }
        )

    def certificates(self, count):
        """Return certificates, in DER."""
        made = (self.authority.client(f"c{n}", names=[uri(f"spiffe://bench/{n % 100}")]) for n in range(count))
        return [each.certificate.public_bytes(Encoding.DER) for each in made]


def request(peer, headers, certificate=None):
    """Return a request with these headers beside the usual ones."""

    async def no_body(_):
        return b""

    usual = [("host", "vault.example"), ("user-agent", "payments/7"), ("accept", "*/*")]
    return Request("GET", b"/", b"", [*usual, *headers], peer, True, "0" * 32, no_body, client_certificate=certificate)


def main():
    """Print what each costs."""
    with tempfile.TemporaryDirectory() as directory:
        ground = Ground(directory)
        forwarding, authenticator = Forwarding(ground.settings.server), CertificateAuthenticator(ground.settings)
        root = ground.authority.issued.certificate.public_bytes(Encoding.DER)
        revoked = frozenset((b"issuer", number) for number in range(10_000))
        fresh = ground.certificates(CERTIFICATES)

        def direct(arrived):
            certificate = forwarding.certificate(arrived)
            certificate.fault(revoked)
            return authenticator.authenticate(Presented({}, "192.0.2.7", certificate.der, certificate.issuers))

        def read(der):
            return ClientCertificate.of([der, root])

        def told(der):
            return request("127.0.0.1", [("client-cert", f":{base64.b64encode(der).decode('ascii')}:")])

        known = request("192.0.2.7", [], read(fresh[0]))
        first = [request("192.0.2.7", [], read(der)) for der in fresh]
        forwarded = [told(der) for der in fresh]
        found = {
            "a connection: reading the chain": microseconds(read, fresh),
            "a certificate first seen: mapping": microseconds(direct, first),
            "each further request": microseconds(direct, [known] * REPEATS, AT_ONCE),
            "a proxy tells: first seen": microseconds(direct, forwarded),
            "a proxy tells: each further request": microseconds(direct, [forwarded[0]] * REPEATS, AT_ONCE),
        }
    for name, taken in found.items():
        print(f"{name:<38} {taken:>8.2f} µs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
