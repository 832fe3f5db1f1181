"""The task that the benchmarks run on YADTQ."""


def noop() -> None:
    """Nothing: what is measured is the queue."""


task_handlers = {"noop": noop}
