"""Why brokers turn us away, in words that say what to do.

librdkafka says the same of every certificate that it does not believe, and nothing at all when a listener wants TLS, or
a user, and gets none. So the port is looked at once more by a handshake of our own, when nobody gets in anyway.
"""

from __future__ import annotations

import re
import socket
import ssl

from dpiped.kafka.config import KafkaConfig
from dpiped.tls import ClientTls, Tls, TlsError

LOOK_SECS = 2.0
"""For connecting, and again for the handshake."""
LOOKS = 2
"""So many brokers are looked at, that `check --connect` has an answer in its time."""
_TIMES = re.compile(r" \(after \d+ms in state \w+(?:, \d+ identical error\(s\) suppressed)?\)")
_FROM = re.compile(r"\w+://(?P<address>[^/]+)/\S+: (?P<text>.*)")
_MECHANISMS = re.compile(r"SASL (\S+) mechanism handshake failed.*supported mechanisms: *([\w,.-]*)")
_OF_US = re.compile(r"alert (?:.*certificate|unknown ca|handshake failure)")
"""What a broker answers that does not get the certificate it wants (RFC 8446, section 6.2; TLS 1.2 knows the last)."""
_ENDED = re.compile(r"Send failed|Receive failed|Disconnected")
_NAME_MISMATCHES = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH."""
_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED."""


def without_times(text: str) -> str:
    """An error of librdkafka in one line that is the same each time."""
    return _TIMES.sub("", text).replace("\n", " ")


def advice_on(text: str, config: KafkaConfig) -> str:
    """What is wrong and what to do, in one line, after an error of librdkafka; empty where we know no better. `text` is
    empty when brokers end connections without a word. Blocks for seconds.
    """
    told = _FROM.search(text)
    if not text:
        return next(filter(None, (_advice_on_silence(address, config) for address in config.brokers[:LOOKS])), "")
    if told is None:
        return ""
    address, text = told["address"], told["text"]
    if "SASL" in text:
        return _advice_on_user(address, text)
    if _OF_US.search(text):
        return _advice_on_our_certificate(address, config.tls)
    if _ENDED.search(text):
        return _advice_on_silence(address, config)
    return _advice_on_tls(address, config) if config.security == "tls" and "SSL" in text else ""


def _advice_on_user(address: str, text: str) -> str:
    mechanisms = _MECHANISMS.search(text)
    if mechanisms is None:
        return f"{address}: the credentials are refused: mend user and password: {text}"
    if mechanisms[2]:
        shown = mechanisms[2].replace(",", ", ")
        return f"{address} takes no mechanism {mechanisms[1]}: set mechanism to one that it takes: {shown}"
    return f"{address} knows no users: leave user and password away, or name the port of a listener with SASL"


def _advice_on_our_certificate(address: str, tls: ClientTls) -> str:
    if not tls.cert:
        return f"{address} asks for a certificate of ours: set tls.cert and tls.key"
    return f"{address} does not take our certificate {tls.cert}: mend tls.cert, or have its authority trusted there"


def _advice_on_silence(address: str, config: KafkaConfig) -> str:
    if config.security == "tls" or config.has_own_security:
        return _advice_on_tls(address, config) or _advice_on_missing(address, config)
    try:
        speaks_tls = _speaks_tls(address, ClientTls(verify=False))
    except ssl.SSLError:
        speaks_tls = True
    except OSError:
        return ""
    if not speaks_tls:
        return _advice_on_missing(address, config)
    return f'{address} speaks TLS: set security = "tls", or name the port of a listener without TLS'


def _advice_on_missing(address: str, config: KafkaConfig) -> str:
    wanted = [] if config.user else ["user and password"]
    if config.security == "tls" and not config.tls.cert:
        wanted.append("tls.cert and tls.key")
    return f"{address} ends connections: set {', or '.join(wanted)}, if it asks for them" if wanted else ""


def _advice_on_tls(address: str, config: KafkaConfig) -> str:
    if config.has_own_security:
        return ""
    try:
        if not _speaks_tls(address, config.tls):
            return f'{address} speaks no TLS: set security = "plaintext", or name the port of a listener with TLS'
    except ssl.SSLCertVerificationError as exc:
        return _advice_on_its_certificate(address, exc, config.tls)
    except TlsError as exc:
        return str(exc)
    except OSError:
        pass
    return ""


def _advice_on_its_certificate(address: str, exc: ssl.SSLCertVerificationError, tls: ClientTls) -> str:
    if exc.verify_code in _NAME_MISMATCHES:
        ways = "name it in brokers (and in its advertised.listeners) as its certificate does"
        return f"{address} shows a certificate for another name: {ways}"
    if exc.verify_code == _EXPIRED:
        return f"{address} shows a certificate that has expired: give the broker a new one"
    trusted = tls.ca or "the certificates of the system"
    ways = "set tls.ca to the file of its authority"
    return f"{address} shows a certificate of an authority that is not in {trusted}: {ways} ({exc.verify_message})"


def _speaks_tls(address: str, tls: ClientTls) -> bool:
    """Whether there is TLS at all. Raises OSError when nobody is there, SSLError or TlsError when it is not for us."""
    host, _, port = address.rpartition(":")
    host, context = host.strip("[]"), Tls(tls).context
    with socket.create_connection((host, int(port)), LOOK_SECS) as plain:
        try:
            context.wrap_socket(plain, server_hostname=host).close()
        except (ssl.SSLEOFError, ConnectionResetError):
            return False
        except ssl.SSLError as exc:
            if exc.reason == "WRONG_VERSION_NUMBER":
                return False
            raise
    return True
