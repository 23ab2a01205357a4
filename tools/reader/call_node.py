"""Calls a running node as a program of somebody else would: with gRPC's and OpenSSL's own clients, without a line of
Larder and without its proto files. What the node offers is asked of its reflection service.

    call_node.py ADDRESS:PORT CERTIFICATES_FOLDER

Prints one JSON document: the services and methods found, the answers of the health service and of Node/Status, and what
became of connections that should not succeed (no certificate, a certificate of another authority, TLS 1.2), and which
key exchange and cipher a client that offers the hybrid one ends up with. Exits 1 if a call that should succeed fails.
Judging the rest is the caller's part. Needs the packages in requirements.txt.
"""

import datetime
import json
import os
import pathlib
import socket
import sys

# Refused connections are what this program looks for: gRPC need not log them.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from OpenSSL import SSL, crypto

SECONDS = 10


def call(channel, pool, service, method, fields=None):
    """One unary call, its messages known from reflection only."""
    described = pool.FindServiceByName(service).FindMethodByName(method)
    request = message_factory.GetMessageClass(described.input_type)(**(fields or {}))
    answer_class = message_factory.GetMessageClass(described.output_type)
    stub = channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer_class.FromString,
    )
    return json_format.MessageToDict(stub(request, timeout=SECONDS), preserving_proto_field_name=True)


def with_certificate(address, authority, certificate, key):
    """What a client with the right certificate sees."""
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(authority, key, certificate)) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(database)
        services = {
            name: [method.name for method in pool.FindServiceByName(name).methods] for name in database.get_services()
        }
        return {
            "services": services,
            "health": call(channel, pool, "grpc.health.v1.Health", "Check", {"service": "larder.v1.Node"}),
            "status": call(channel, pool, "larder.v1.Node", "Status"),
        }


def grpc_outcome(address, credentials):
    """How a call ends: "answered", or the status code. Without credentials it is made without TLS."""
    with grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address) as channel:
        stub = channel.unary_unary("/grpc.health.v1.Health/Check", lambda _: b"", lambda data: data)
        try:
            stub(None, timeout=3)
        except grpc.RpcError as error:
            return error.code().name
        return "answered"


def tls_outcome(address, authority, identity=None, highest=None):
    """How a TLS connection ends. Refused clients hear of it at the first read in TLS 1.3: the client's part of the
    handshake is over before the server has looked at the certificate."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.get_cert_store().add_cert(crypto.X509.from_cryptography(x509.load_pem_x509_certificate(authority)))
    context.set_verify(SSL.VERIFY_PEER)
    context.set_alpn_protos([b"h2"])
    if identity:
        certificate, key = identity
        context.use_certificate(x509.load_pem_x509_certificate(certificate))
        context.use_privatekey(serialization.load_pem_private_key(key, None))
    if highest:
        context.set_max_proto_version(highest)
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=SECONDS) as plain:
        plain.setblocking(True)
        connection = SSL.Connection(context, plain)
        connection.set_connect_state()
        try:
            connection.do_handshake()
            # The empty settings frame of HTTP/2 follows the preface; the server answers with its own.
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            connection.recv(9)
        except SSL.Error as error:
            reasons = error.args[0] if error.args else []
            return {"refused": [reason[-1] for reason in reasons] or [type(error).__name__]}
        except OSError as error:
            return {"refused": [type(error).__name__]}
        return {
            "protocol": connection.get_protocol_version_name(),
            "cipher": connection.get_cipher_name(),
            "group": connection.get_group_name(),
            "alpn": connection.get_alpn_proto_negotiated().decode(),
        }


def self_made_identity():
    """A certificate of an authority that nobody knows."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "larder client")])
    now = datetime.datetime.now(datetime.timezone.utc)
    serial, end = x509.random_serial_number(), now + datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, now, end)
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = builder.add_extension(usage, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), private


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: call_node.py ADDRESS:PORT CERTIFICATES_FOLDER")
    address, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    names = ("authority.pem", "client.pem", "client.key")
    authority, certificate, key = ((folder / name).read_bytes() for name in names)
    stranger = self_made_identity()
    found = with_certificate(address, authority, certificate, key)
    found["grpc_without_certificate"] = grpc_outcome(address, grpc.ssl_channel_credentials(authority))
    found["grpc_without_tls"] = grpc_outcome(address, None)
    found["tls"] = tls_outcome(address, authority, (certificate, key))
    found["tls_without_certificate"] = tls_outcome(address, authority)
    found["tls_of_a_stranger"] = tls_outcome(address, authority, stranger)
    found["tls_1_2"] = tls_outcome(address, authority, (certificate, key), SSL.TLS1_2_VERSION)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
