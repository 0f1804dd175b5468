"""Compiles task templates and inputs with the real SDKs `flytekit` (Flyte 1) and `flyte` (Flyte 2).

Usage: make_fixtures.py OUTPUT_DIRECTORY

Writes NAME.template.pb (flyteidl.core.TaskTemplate) and NAME.inputs.pb (flyteidl.core.LiteralMap) under flyte1/, and
NAME.template.pb (flyteidl2.core.TaskTemplate) and NAME.inputs.pb (flyteidl2.task.Inputs) under flyte2/.
"""

import asyncio
import sys
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Union

from flytekit import ContainerTask, SQLTask, kwtypes, task
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.core.base_task import PythonTask
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.interface import Interface
from flytekit.core.type_engine import TypeEngine
from flytekit.extend.backend.base_connector import AsyncConnectorExecutorMixin, SyncConnectorExecutorMixin
from flytekit.models.task import Sql
from flytekit.tools.translator import get_serializable
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from flytekit.types.structured import StructuredDataset

SETTINGS = SerializationSettings(
    project="flytesnacks",
    domain="development",
    version="v1",
    image_config=ImageConfig(Image(name="default", fqn="docker.io/example/interop", tag="1")),
)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Person:
    name: str
    age: int
    tags: List[str]


KINDS = {
    "an_integer": (int, 2**53 + 1),
    "a_negative": (int, -7),
    "a_float": (float, 0.1),
    "a_text": (str, "naïve ☃ \n text"),
    "a_boolean": (bool, False),
    "a_time": (datetime, datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)),
    "a_duration": (timedelta, timedelta(days=1, seconds=2, microseconds=3)),
    "an_enum": (Colour, Colour.BLUE),
    "a_dataclass": (Person, Person("Ada", 36, ["a", "b"])),
    "a_list": (List[int], [1, 2, 3]),
    "an_empty_list": (List[str], []),
    "a_nested_list": (List[List[str]], [["x"], []]),
    "a_map": (Dict[str, int], {"one": 1, "two": 2}),
    "a_map_of_lists": (Dict[str, List[float]], {"r": [0.5, 1.5]}),
    "an_optional": (Optional[int], 5),
    "a_none": (Optional[int], None),
    "a_union": (Union[int, str], "either"),
    "a_file": (FlyteFile, FlyteFile("s3://bucket/data/file.csv")),
    "a_directory": (FlyteDirectory, FlyteDirectory("s3://bucket/data/dir")),
    "a_dataset": (StructuredDataset, StructuredDataset(uri="s3://bucket/data/table")),
}


class JobTask(AsyncConnectorExecutorMixin, PythonTask):
    """What an author of a connector writes: a task with a type of its own and its settings in `custom`."""

    def __init__(self, name, task_type, inputs, outputs):
        super().__init__(
            task_type=task_type, name=name, task_config=None, interface=Interface(inputs=inputs, outputs=outputs)
        )

    def get_custom(self, settings):
        return {"compiled_by": "flytekit"}


class RunTask(SyncConnectorExecutorMixin, PythonTask):
    def __init__(self, name):
        interface = Interface(inputs={"a": int}, outputs={"times": int})
        super().__init__(task_type="interop_sync", name=name, task_config=None, interface=interface)

    def get_custom(self, settings):
        return {"compiled_by": "flytekit"}


class QueryTask(AsyncConnectorExecutorMixin, SQLTask):
    """As the SDK's own plugins for warehouses do it: the statement goes into the template."""

    def get_sql(self, settings):
        return Sql(statement=self.query_template, dialect=Sql.Dialect.ANSI)


class ContainerOutputs(NamedTuple):
    text: str


@task
def container(a: int, names: Dict[str, str]) -> ContainerOutputs:
    return ContainerOutputs(text=f"{a} {names}")


def flyte1_tasks():
    kinds = {name: kind for name, (kind, _) in KINDS.items()}
    values = {name: value for name, (_, value) in KINDS.items()}
    text = {"text": str}
    return {
        "kinds": (JobTask("interop.kinds", "interop_job", kinds, kinds), values),
        "job": (JobTask("interop.job", "interop_job", {"a": int}, {}), {"a": 1}),
        "text": (JobTask("interop.text", "interop_job", {"a": str}, text), {"a": "in"}),
        "map": (
            JobTask("interop.map", "interop_job", {"m": Dict[str, Dict[str, int]]}, {"m": Dict[str, Dict[str, int]]}),
            {"m": {"outer": {"inner": 1}, "empty": {}}},
        ),
        "sync": (RunTask("interop.sync"), {"a": 1}),
        "container": (container, {"a": 3, "names": {"k": "v"}}),
        "raw-container": (
            ContainerTask(
                name="interop.raw",
                image="docker.io/library/busybox:1",
                command=["sh", "-c", "echo {{.inputs.a}} > {{.outputPrefix}}/done"],
                inputs=kwtypes(a=int),
                outputs=kwtypes(text=str),
            ),
            {"a": 4},
        ),
        "sql": (
            QueryTask(
                name="interop.sql",
                query_template="select * from t where a > {{ .inputs.a }}",
                inputs=kwtypes(a=int),
                task_config=None,
                task_type="sql",
            ),
            {"a": 5},
        ),
    }


def write_flyte1(target):
    target.mkdir(parents=True, exist_ok=True)
    ctx = FlyteContextManager.current_context()
    for name, (entity, values) in flyte1_tasks().items():
        template = get_serializable(OrderedDict(), SETTINGS, entity).template.to_flyte_idl()
        types = entity.python_interface.inputs
        literals = TypeEngine.dict_to_literal_map(ctx, values, type_hints=types).to_flyte_idl()
        for kind, message in (("template", template), ("inputs", literals)):
            (target / f"{name}.{kind}.pb").write_bytes(message.SerializeToString(deterministic=True))


def write_flyte2(target):
    import flyte
    from flyte._internal.runtime.convert import convert_from_native_to_inputs
    from flyte._internal.runtime.task_serde import translate_task_to_wire
    from flyte.extras import ContainerTask as RawContainer
    from flyte.models import SerializationContext

    target.mkdir(parents=True, exist_ok=True)
    environment = flyte.TaskEnvironment(name="interop", image="docker.io/example/interop:1")

    @environment.task
    async def job(a: int, m: Dict[str, List[str]], flag: bool, when: datetime, ratio: float) -> str:
        return f"{a}{m}{flag}{when}{ratio}"

    raw = RawContainer(
        name="interop-raw",
        image="docker.io/library/busybox:1",
        command=["sh", "-c", "echo {{.inputs.a}}"],
        inputs={"a": int},
        outputs={"text": str},
    )
    flyte.TaskEnvironment.from_task("interop-raw-environment", raw)
    when = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
    values = {
        "job": (job, {"a": 2**53 + 1, "m": {"k": ["v", ""]}, "flag": True, "when": when, "ratio": 0.1}),
        "raw-container": (raw, {"a": 4}),
    }
    context = SerializationContext(
        project="flytesnacks", domain="development", version="v1", root_dir=Path(__file__).parent
    )
    for name, (entity, inputs) in values.items():
        spec = translate_task_to_wire(entity, context)
        converted = asyncio.run(convert_from_native_to_inputs(entity.native_interface, **inputs)).proto_inputs
        for kind, message in (("template", spec.task_template), ("inputs", converted)):
            (target / f"{name}.{kind}.pb").write_bytes(message.SerializeToString(deterministic=True))


if __name__ == "__main__":
    output = Path(sys.argv[1])
    write_flyte1(output / "flyte1")
    write_flyte2(output / "flyte2")
