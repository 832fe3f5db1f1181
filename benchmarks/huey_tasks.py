"""The same task on huey, its results kept as ours are."""

import os

from huey import RedisHuey

huey = RedisHuey("bench", url=os.environ["BENCH_REDIS_URL"])


@huey.task()
def noop() -> int:
    """Nothing; huey keeps no None, so that it returns a number to have a result kept."""
    return 0
