"""Keys, requests and certificates in KubeEdge's form, and what each must look like."""

import datetime
import ipaddress
import secrets

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from cryptography.x509.oid import NameOID

import wire

CLIENT_AUTH = Eku.CLIENT_AUTH


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


def sec1_der(key):
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def sec1_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def load_key(pem):
    return serialization.load_pem_private_key(pem, None)


def pem(cert):
    return cert.public_bytes(serialization.Encoding.PEM)


def der(thing):
    return thing.public_bytes(serialization.Encoding.DER)


def same_key(one, other):
    spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return one.public_bytes(*spki) == other.public_bytes(*spki)


def organization_and_name(subject):
    def first(oid):
        found = subject.get_attributes_for_oid(oid)
        return found[0].value if found else None

    return first(NameOID.ORGANIZATION_NAME), first(NameOID.COMMON_NAME)


def _name(organization, common):
    parts = [(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([x509.NameAttribute(*part) for part in [*parts, (NameOID.COMMON_NAME, common)]])


def _key_usage(*, cert_sign):
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=True,
        data_encipherment=False, key_agreement=False, key_cert_sign=cert_sign, crl_sign=False,
        encipher_only=False, decipher_only=False,
    )


class Authority:
    """A certificate and its key that signs others."""

    def __init__(self, key, cert):
        self.key, self.cert = key, cert

    @classmethod
    def create(cls, days=364 * 100, age=0):
        key, now = new_key(), _now() - datetime.timedelta(seconds=age)
        cert = (
            x509.CertificateBuilder()
            .subject_name(_name(None, "KubeEdge"))
            .issuer_name(_name(None, "KubeEdge"))
            .public_key(key.public_key())
            .serial_number(1024)
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(_key_usage(cert_sign=True), True)
            .add_extension(x509.ExtendedKeyUsage([Eku.SERVER_AUTH, CLIENT_AUTH]), False)
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )
        return cls(key, cert)

    def sign(self, public_key, subject, seconds, usages, *, names=(), ca=False, age=0):
        """A certificate valid from `age` seconds ago until `seconds` from now."""
        now = _now()
        ski = self.cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(*subject))
            .issuer_name(self.cert.subject)
            .public_key(public_key)
            .serial_number(secrets.randbelow(2**63 - 1) + 1)
            .not_valid_before(now - datetime.timedelta(seconds=age))
            .not_valid_after(now + datetime.timedelta(seconds=seconds))
            .add_extension(_key_usage(cert_sign=ca), True)
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
        if ca:
            builder = builder.add_extension(x509.BasicConstraints(True, None), True)
        aki = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)
        builder = builder.add_extension(aki, False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        return builder.sign(self.key, hashes.SHA256())

    def serving(self, addresses, dns_names, seconds=364 * 100 * 86400, age=0):
        """(key, certificate) of the cloud's two ports; an empty name stays an empty name."""
        key = new_key()
        names = [x509.DNSName(name) for name in dns_names]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        subject = ("KubeEdge", "KubeEdge")
        age = age or (86400 if seconds < 0 else 0)
        return key, self.sign(key.public_key(), subject, seconds, [Eku.SERVER_AUTH], names=names, age=age)


def request(key, organization, common):
    """A certificate request as the Go edge writes it, DER."""
    country, state, city = wire.SUBJECT_COUNTRY
    parts = [
        (NameOID.COUNTRY_NAME, country),
        (NameOID.STATE_OR_PROVINCE_NAME, state),
        (NameOID.LOCALITY_NAME, city),
        (NameOID.ORGANIZATION_NAME, organization),
        (NameOID.COMMON_NAME, common),
    ]
    subject = x509.Name([x509.NameAttribute(*part) for part in parts])
    return der(x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256()))


def wrong_with_ca(cert):
    """What keeps a certificate from being a KubeEdge CA."""
    wrong = []
    if cert.subject != _name(None, "KubeEdge") or cert.issuer != cert.subject:
        wrong.append("subject and issuer are not CN=KubeEdge alone")
    if cert.serial_number != 1024:
        wrong.append("serial is not 1024")
    if not isinstance(cert.public_key(), ec.EllipticCurvePublicKey) or cert.public_key().key_size != 256:
        wrong.append("key is not P-256")
    try:
        cert.verify_directly_issued_by(cert)
    except (InvalidSignature, ValueError, TypeError):
        wrong.append("not signed by its own key")
    wrong += _extension(cert, x509.BasicConstraints, x509.BasicConstraints(True, None), True)
    wrong += _extension(cert, x509.KeyUsage, _key_usage(cert_sign=True), True)
    usages = x509.ExtendedKeyUsage([Eku.SERVER_AUTH, CLIENT_AUTH])
    wrong += _extension(cert, x509.ExtendedKeyUsage, usages, False)
    return wrong + _not_now(cert)


def wrong_with_edge(cert, ca, key, subject):
    """What is wrong with a certificate that an edge was given for `key`; `subject` None: any."""
    wrong = []
    if not same_key(cert.public_key(), key.public_key()):
        wrong.append("the certificate is for another key")
    if subject and cert.subject != _name(*subject):
        wrong.append(f"the subject is {cert.subject.rfc4514_string()}")
    try:
        cert.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):
        wrong.append("not signed by the CA")
    if not 0 < cert.serial_number < 2**63:
        wrong.append("serial out of range")
    wrong += _extension(cert, x509.KeyUsage, _key_usage(cert_sign=False), True)
    wrong += _extension(cert, x509.ExtendedKeyUsage, x509.ExtendedKeyUsage([CLIENT_AUTH]), False)
    ski = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    aki = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)
    wrong += _extension(cert, x509.AuthorityKeyIdentifier, aki, False)
    for kind in (x509.SubjectAlternativeName, x509.BasicConstraints):
        if _find(cert, kind) is not None and getattr(_find(cert, kind).value, "ca", True):
            wrong.append(f"the certificate has {kind.__name__}")
    return wrong + _not_now(cert)


def _extension(cert, kind, value, critical):
    found = _find(cert, kind)
    if found is None:
        return [f"no {kind.__name__}"]
    if found.value != value:
        return [f"{kind.__name__} is {found.value}"]
    return [] if found.critical == critical else [f"{kind.__name__} has critical={found.critical}"]


def _find(cert, kind):
    try:
        return cert.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _not_now(cert):
    if cert.not_valid_before_utc <= _now() <= cert.not_valid_after_utc:
        return []
    return ["not valid now"]


def expired(cert):
    return not cert.not_valid_before_utc <= _now() <= cert.not_valid_after_utc


def _now():
    return datetime.datetime.now(datetime.timezone.utc)
