"""The job that the suite's runs of Dagster are of."""

import time

from dagster import Config, Definitions, OpExecutionContext, in_process_executor, job, op


class Work(Config):
    what: str
    numbers: list[int] = []


@op
def work(context: OpExecutionContext, config: Work):
    if config.what == "fail":
        raise ValueError("told to fail")
    while config.what == "endless":
        time.sleep(0.2)
    context.instance.add_run_tags(context.run_id, {"result": str(sum(config.numbers))})


@job(executor_def=in_process_executor)
def example():
    work()


defs = Definitions(jobs=[example])
