"""A Python client that knows no .proto file: all it lists, describes and calls it learns by server reflection.

Reads one JSON object a line, `{"op": ..., ...}`, and answers one a line: `{"ok": ...}` or `{"error": ..., "code": ...}`.
"""

import json
import sys
import tempfile
from itertools import islice
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

DEADLINE = 20


class Client:
    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.database)

    def list(self):
        return sorted(self.database.get_services())

    def methods(self, service):
        return [method.name for method in self.pool.FindServiceByName(service).methods]

    def messages(self):
        """Full names of all messages that the services lead to, fields of fields included."""
        found = {}
        waiting = []
        for name in self.list():
            for method in self.pool.FindServiceByName(name).methods:
                waiting += [method.input_type, method.output_type]
        while waiting:
            message = waiting.pop()
            if message.full_name in found:
                continue
            found[message.full_name] = message
            waiting += [field.message_type for field in message.fields if field.message_type is not None]
            GetMessageClass(message)()
        return sorted(found)

    def extensions(self, type):
        return sorted(self.database.FindAllExtensionNumbers(type))

    def compare(self, includes, files):
        """Names of the files whose reflected descriptors differ from what protoc makes of the same sources."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "set.binpb"
            own = Path(protoc.__file__).parent / "_proto"
            given = ["protoc", *[f"-I{include}" for include in [own, *includes]], "--include_imports"]
            if protoc.main([*given, f"--descriptor_set_out={out}", *files]) != 0:
                raise RuntimeError("protoc failed")
            compiled = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
        files, differing = 0, []
        for file in compiled.file:
            # Those of google/ come with each compiler, in its own version.
            if file.name.startswith("google/"):
                continue
            files += 1
            reflected = self.database.FindFileByName(file.name)
            # Options of google.api are bytes here, and compilers do not write their fields in one order.
            file.DiscardUnknownFields()
            reflected.DiscardUnknownFields()
            if reflected != file:
                differing.append(file.name)
        return {"files": files, "differing": differing}

    def call(self, method, requests, take=None):
        service, name = method.rsplit("/", 1)
        described = self.pool.FindServiceByName(service).FindMethodByName(name)
        make, answer = GetMessageClass(described.input_type), GetMessageClass(described.output_type)
        messages = [json_format.ParseDict(request, make(), descriptor_pool=self.pool) for request in requests]
        kind = ("stream" if described.client_streaming else "unary", "stream" if described.server_streaming else "unary")
        invoke = getattr(self.channel, "_".join(kind))(
            f"/{method}", request_serializer=make.SerializeToString, response_deserializer=answer.FromString
        )
        given = iter(messages) if described.client_streaming else messages[0]
        if described.server_streaming:
            stream = invoke(given, timeout=DEADLINE)
            answers = list(islice(stream, take))
            stream.cancel()
        else:
            answers = [invoke(given, timeout=DEADLINE)]
        return [json_format.MessageToDict(each, descriptor_pool=self.pool) for each in answers]

    def health(self, service):
        stub = health_pb2_grpc.HealthStub(self.channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def main():
    client = Client(sys.argv[1])
    for line in sys.stdin:
        wanted = json.loads(line)
        operation = getattr(client, wanted.pop("op"))
        try:
            said = {"ok": operation(**wanted)}
        except grpc.RpcError as error:
            said = {"error": error.details(), "code": error.code().name}
        except Exception as error:  # noqa: BLE001  what fails here is a result
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)


main()
