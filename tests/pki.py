"""Certificates for tests: an authority, and files in the shape that configs name."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Pki:
    """An authority whose files are in a folder: `ca.pem`, and what `issue` makes."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = str(folder / f"{name}.pem")
        self.authority.cert_pem.write_to_path(self.ca)

    def issue(self, name: str, *identities: str) -> str:
        """Key and certificate in one file, made anew; its path."""
        path = self.folder / f"{name}.pem"
        issued = self.authority.issue_cert(*(identities or ("localhost", "127.0.0.1")))
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        return str(path)

    def client(self, cert: str = "") -> ssl.SSLContext:
        """A client's context that trusts this authority, and shows the certificate of a file."""
        context = ssl.create_default_context(cafile=self.ca)
        if cert:
            context.load_cert_chain(cert)
        return context
