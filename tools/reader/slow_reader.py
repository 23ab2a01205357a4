"""A client of a node that asks for much and reads nothing, without a line of Larder.

    slow_reader.py ADDRESS:PORT CERTIFICATES_FOLDER NODE_PID NAMESPACE_ID SETTINGS_HEX

Creates the namespace with these settings, puts a record of some megabytes into it, asks for it a thousand times in one stream, reads no answer for a few
seconds, and prints what the node's memory was before and at its highest meanwhile (bytes), and the size of an answer.
Then it reads all answers, so that the stream is shown to have been served all the same. Needs requirements.txt.
"""

import json
import os
import pathlib
import sys
import time

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

ASKED = 1000
SIZE = 3 << 20
SECONDS = 4


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    sys.exit("no such process")


class Node:
    def __init__(self, channel):
        self.channel = channel
        self.pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))

    def method(self, service, name, kind):
        described = self.pool.FindServiceByName(service).FindMethodByName(name)
        request = message_factory.GetMessageClass(described.input_type)
        answer = message_factory.GetMessageClass(described.output_type)
        stub = getattr(self.channel, kind)(
            f"/{service}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return stub, request


def main():
    if len(sys.argv) != 6:
        sys.exit("usage: slow_reader.py ADDRESS:PORT CERTIFICATES_FOLDER NODE_PID NAMESPACE_ID SETTINGS_HEX")
    address, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    pid, namespace = int(sys.argv[3]), int(sys.argv[4])
    authority, certificate, key = ((folder / n).read_bytes() for n in ("authority.pem", "client.pem", "client.key"))
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    options = [("grpc.max_receive_message_length", 64 << 20)]
    with grpc.secure_channel(address, credentials, options) as channel:
        node = Node(channel)
        create, settings = node.method("larder.v1.Node", "CreateNamespace", "unary_unary")
        create(settings(settings=bytes.fromhex(sys.argv[5])))
        apply, ask = node.method("larder.v1.Records", "Apply", "unary_unary")
        record = b"big"
        put = apply(ask(namespace=namespace, key=record, put={"body": os.urandom(SIZE)}))
        if not put.HasField("written"):
            sys.exit(f"the record was not taken: {put}")
        stream, ask = node.method("larder.v1.Records", "ApplyStream", "stream_stream")
        before = highest = resident(pid)
        asks = (ask(tag=tag, namespace=namespace, key=record, get={}) for tag in range(ASKED))
        answers = stream(asks)
        for _ in range(SECONDS * 20):
            time.sleep(0.05)
            highest = max(highest, resident(pid))
        read = sum(1 for answer in answers if len(answer.found.head) + len(answer.found.body) == SIZE)
        print(json.dumps({"answer": SIZE, "asked": ASKED, "read": read, "before": before, "highest": highest}))


if __name__ == "__main__":
    main()
