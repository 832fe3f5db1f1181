"""TLS to both servers: a context made of the settings' files, and what a failed handshake means in one sentence."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from yadtq.config import Settings
from yadtq.errors import ConfigError

# OpenSSL's words where the other side wants a certificate of ours, or does not like the one it got.
_ABOUT_OURS = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN", "UNKNOWN_CA", "HANDSHAKE_FAILURE")
_HOSTNAME_MISMATCH, _IP_MISMATCH, _EXPIRED, _NOT_YET_VALID = 62, 64, 10, 9
_PLACE = {"kafka": "kafka_servers and Kafka's advertised.listeners", "redis": "redis_host or redis_url"}
_SWITCH = {"kafka": "kafka_security_protocol", "redis": "redis_ssl, or redis:// and rediss:// in redis_url"}


def tls_context(settings: Settings, server: str) -> ssl.SSLContext:
    """The context for ``kafka`` or ``redis``; certificates and host names are always checked.

    Raises:
        ConfigError: a file is missing or cannot be used; names the setting.
    """
    name = f"{server}_ssl_"
    cafile, certfile, keyfile = (getattr(settings, name + kind) for kind in ("cafile", "certfile", "keyfile"))
    for kind, path in (("cafile", cafile), ("certfile", certfile), ("keyfile", keyfile)):
        _check_file(name + kind, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cafile is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(cafile)
        except ssl.SSLError as error:
            raise ConfigError(f"{name}cafile={cafile} holds no certificate in PEM form") from error
    if certfile is not None:
        # Without a password OpenSSL would ask for it on the terminal.
        password = getattr(settings, f"{name}key_password") or ""
        try:
            context.load_cert_chain(certfile, keyfile, password)
        except ssl.SSLError as error:
            raise ConfigError(
                f"{name}certfile and {name}keyfile are no certificate in PEM form with its key, or {name}key_password is wrong ({error.reason})"
            ) from error
    return context


def _check_file(name: str, path: str | None) -> None:
    if path is None:
        return
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ConfigError(f"{name}={path} cannot be read: {error.strerror}") from error


def tls_trouble(error: BaseException, server: str) -> str | None:
    """What went wrong with TLS to ``kafka`` or ``redis`` and what to do, or None where it was something else."""
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _distrust(cause, server)
        if isinstance(cause, ssl.SSLError):
            said = cause.reason or str(cause)
            if any(word in said.upper().replace(" ", "_") for word in _ABOUT_OURS):
                return f"wants a client certificate that it knows; set {server}_ssl_certfile and {server}_ssl_keyfile ({said})"
            if isinstance(cause, ssl.SSLEOFError):
                return f"ends the TLS connection at once; check the port and {_SWITCH[server]}, and set {server}_ssl_certfile where it wants a client certificate"
            return f"does not answer in TLS; check the port and {_SWITCH[server]} ({said})"
    return None


def _distrust(error: ssl.SSLCertVerificationError, server: str) -> str:
    said = error.verify_message
    if error.verify_code in (_HOSTNAME_MISMATCH, _IP_MISMATCH):
        return f"shows a certificate for another name ({said.rstrip('.')}); {_PLACE[server]} must give a name that the certificate holds"
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        return (
            f"shows a certificate that is not valid today ({said}); renew it there, or set this machine's clock right"
        )
    return (
        f"shows a certificate of a CA that is not trusted here ({said}); set {server}_ssl_cafile to the file of its CA"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
